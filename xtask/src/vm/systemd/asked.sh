# Asks everybody to run something, and says which cgroup it has run in.
set -eu
cd /tmp
where='cat /proc/self/cgroup'
echo "* * * * * $where > /tmp/cron.new && mv /tmp/cron.new /tmp/cron" | crontab -
echo "$where > /tmp/at.new && mv /tmp/at.new /tmp/at" | at now 2>/dev/null
echo "sudo $(sudo -n $where)"
echo "sudo-login $(sudo -n -i $where)"
echo "sudo-su $(sudo -n su - bob -c "$where")"
echo "user-unit $(systemd-run --user --quiet --pipe --wait $where)"
echo "user-scope $(systemd-run --user --quiet --scope $where)"
echo "user-slice $(systemd-run --user --quiet --pipe --wait --slice own.slice $where)"
busctl call org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.DBus.Peer Ping
echo "dbus $(systemctl show --property ControlGroup --value systemd-hostnamed)"
echo "sudo-systemd-run $(sudo -n systemd-run --quiet --pipe --wait $where)"
echo "sudo-run0 $(sudo -n run0 $where)"
systemd-run --no-ask-password --wait true 2>/dev/null || echo 'systemd-run refused'
run0 --no-ask-password true 2>/dev/null || echo 'run0 refused'
systemctl --no-ask-password start cron 2>/dev/null || echo 'start-unit refused'
# Cron looks once a minute.
timeout 180 sh -c 'until test -f /tmp/cron && test -f /tmp/at; do sleep 1; done'
echo "cron $(cat /tmp/cron)"
echo "at $(cat /tmp/at)"
