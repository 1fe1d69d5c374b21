# What an enforcer has left: programs, files, units, slices, gates.
find /sys/fs/bpf -mindepth 1 -name '*enforcer*'
find / -xdev -name '*enforcer*' -not -path '/root/*' -not -path '/proc/*' -not -path '/var/lib/systemd/deb-systemd-helper*'
find /run /etc -name '*enforcer*' -not -path '/etc/systemd/system/multi-user*' 2>/dev/null
systemctl list-unit-files --no-legend '*enforcer*'
for slice in frontend.slice user-1000.slice containers.slice; do
    systemctl show --property IPAddressDeny --value "$slice" | grep . || true
done
