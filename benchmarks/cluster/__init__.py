"""What needs a cluster with Pods, real or simulated: `make bench-cluster`."""
