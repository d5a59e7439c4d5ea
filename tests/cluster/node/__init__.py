"""A real Kubernetes node beside the control plane of the tests: containerd, kubelet, kube-proxy, DNS and metrics."""
