"""The embedded API served by Kubernetes REST conventions, so that kubectl and our own client speak to it."""

from mahavishnu_operator.resources.kubeconfig import write_kubeconfig

from .app import api_app

__all__ = ["api_app", "write_kubeconfig"]
