# What an enforcer has left: programs, files, units, gates. What `systemctl set-property` has written goes with the boot.
find /sys/fs/bpf -mindepth 1 -name '*enforcer*'
find / -xdev -name '*enforcer*' -not -path '/root/*'
find /run -name '*enforcer*' -not -path '/run/systemd/system.control/*'
systemctl list-unit-files --no-legend '*enforcer*' || true
for slice in frontend.slice user-1000.slice containers.slice; do
    systemctl show --property IPAddressDeny --value "$slice" | grep . || true
done
