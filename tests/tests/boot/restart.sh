# One step of a restart of the node, by the name of this shell.
pids() {
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = "$1" ] && echo "${process#/proc/}"
  done
}

case "$0" in
end)
  # What would start pods again, or wonder where they are.
  kill -STOP $(pids kubelet) $(pids containerd)
  for file in $(find /sys/fs/cgroup/kubepods -name cgroup.kill); do echo 1 >"$file"; done
  kill -KILL $(pids containerd-shim)
  tries=0
  while [ -d /sys/fs/cgroup/kubepods ]; do
    find /sys/fs/cgroup/kubepods -depth -type d -exec rmdir {} + 2>/dev/null
    tries=$((tries + 1))
    [ "$tries" -gt 100000 ] && exit 1
  done
  rm -r /sys/fs/bpf/enforcer /run/enforcer
  ;;
boot)
  # As enforcer-boot.service says it, with its capabilities.
  set -a
  . /opt/enforcer/boot/environment
  setsid setpriv --no-new-privs --inh-caps=-all \
    --bounding-set=-all,+bpf,+perfmon,+net_admin,+sys_admin,+sys_ptrace,+dac_override \
    /opt/enforcer/enforcer boot --from /opt/enforcer/boot >/run/boot.log 2>&1 </dev/null &
  tries=0
  until /opt/enforcer/enforcer status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -gt 600 ] && exit 1
    sleep 0.05
  done
  ;;
without) ;;
start)
  # The node starts them again.
  kill -KILL $(pids kubelet) $(pids containerd)
  ;;
*) exit 2 ;;
esac
