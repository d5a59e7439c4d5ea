"""Backend kubernetes: warm Pods, owned by their WorkerPool (docs/adr/0011)."""
