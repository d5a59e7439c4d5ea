"""What the installation says about worker Pods, beside what each pool's author may choose."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from mahavishnu_operator.api.reasons import GROUP
from mahavishnu_operator.resources.protocol import Kind

POD = Kind("Pod", "pods", "pod", "po", api="v1")
JOB = Kind("Job", "jobs", "job", "job", api="batch/v1")
NODE = Kind("Node", "nodes", "node", "no", api="v1")
SERVICE = re.compile(r"([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})(?:\.svc(?:\..+)?)?")  # a name of the cluster's DNS
AUDIENCE = f"dispatcher.{GROUP}"  # of a worker's token: the API server refuses it as its own


@dataclass(frozen=True, kw_only=True)
class KubernetesSettings:
    """`image`: the worker image of this version. `dispatcher_url`: where Pods reach the dispatcher.

    `ca_pem`: certificates that prove it, for an https URL; `git_ca_pem`: those of git servers; empty: the image's own.
    """

    image: str
    dispatcher_url: str
    ca_pem: str = ""
    git_ca_pem: str = ""
    audience: str = AUDIENCE
    log_level: str = "info"

    @property
    def proxy_path(self) -> str:
        """Where the API server's proxy leads to the dispatcher, if `dispatcher_url` names a Service; else empty."""
        parts = urlsplit(self.dispatcher_url)
        service = SERVICE.fullmatch(parts.hostname or "")
        if service is None:
            return ""
        name, namespace = service.groups()
        return f"/api/v1/namespaces/{namespace}/services/{parts.scheme}:{name}:{self.dispatcher_port}/proxy"

    @property
    def digest(self) -> str:
        """Short, and another one when any of it is another."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def dispatcher_port(self) -> int:
        """The port in `dispatcher_url`, which is also that of the operator's Pod."""
        parts = urlsplit(self.dispatcher_url)
        return parts.port or (443 if parts.scheme == "https" else 80)
