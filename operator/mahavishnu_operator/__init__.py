"""Worker pools for code scanners and coding agents, on Kubernetes or without a cluster."""

__version__ = "0.1.0"
