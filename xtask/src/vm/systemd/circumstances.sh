systemctl --no-pager --full status enforcer enforcer-in-force
systemctl --no-pager --failed
enforcer status
journalctl --no-pager --boot --lines 60 --unit enforcer --unit enforcer-in-force --unit enforcer-boot
tail -n 20 /run/calls /run/accepts
cat /etc/enforcer/enforcer.yaml
