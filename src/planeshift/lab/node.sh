#!/bin/sh
# What a Kubernetes node runs: containerd, and kubelet once kubeadm has written its configuration; each again when it ends.
keep() {
  name=$1
  shift
  while :; do
    "$@" >>"/var/log/$name.log" 2>&1
    echo "$name ended with $?" >>"/var/log/$name.log"
    sleep 1
  done
}
run_kubelet() {
  until [ -s /var/lib/kubelet/config.yaml ] && [ -s /var/lib/kubelet/kubeadm-flags.env ]; do sleep 0.1; done
  . /var/lib/kubelet/kubeadm-flags.env
  # shellcheck disable=SC2086
  exec kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf \
    --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf $KUBELET_KUBEADM_ARGS
}
[ "${1:-}" = kubelet ] && run_kubelet
mkdir -p /var/log
keep containerd containerd &
keep kubelet /bin/sh "$0" kubelet &
wait
