"""What the installation says about worker Pods, beside what each pool's author may choose."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mahavishnu_operator.api.reasons import GROUP
from mahavishnu_operator.resources.protocol import Kind

POD = Kind("Pod", "pods", "pod", "po", api="v1")
NODE = Kind("Node", "nodes", "node", "no", api="v1")
AUDIENCE = f"dispatcher.{GROUP}"  # of a worker's token: the API server refuses it as its own


@dataclass(frozen=True, kw_only=True)
class KubernetesSettings:
    """`image`: the worker image of this version. `dispatcher_url`: where Pods reach the dispatcher.

    `ca_pem`: certificates that prove it, for an https URL; empty: the image's own.
    """

    image: str
    dispatcher_url: str
    ca_pem: str = ""
    audience: str = AUDIENCE
    log_level: str = "info"

    @property
    def dispatcher_port(self) -> int:
        """The port in `dispatcher_url`, which is also that of the operator's Pod."""
        parts = urlsplit(self.dispatcher_url)
        return parts.port or (443 if parts.scheme == "https" else 80)
