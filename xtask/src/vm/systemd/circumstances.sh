systemctl --no-pager --full status enforcer enforcer-in-force
systemctl --no-pager --failed
enforcer status
journalctl --no-pager --boot --lines 40 --unit enforcer --unit enforcer-in-force
tail -n 20 /run/calls /run/accepts
cat /etc/enforcer/enforcer.yaml
