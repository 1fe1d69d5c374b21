kubectl get pods -A -o wide
kubectl -n enforcer-system logs --tail=60 daemonset/enforcer
kubectl -n shop describe pod app | tail -30
kubectl -n shop logs app -c istio-init
kubectl -n shop logs app -c istio-proxy --tail=30
