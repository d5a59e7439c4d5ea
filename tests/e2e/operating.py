"""The operator as a process of this machine whose workers are Pods of the tests' node, and a namespace to try it in.

It has its service account's rights and no more, and its dispatcher listens with TLS where Pods reach this machine, so
it can be stopped, killed and started again like any process, while the kubelet goes on without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mahavishnu_operator.resources.protocol import Obj
from tests.cluster.node.cluster import NodeCluster
from tests.integration.operator_tools import POOL, Entrance, OperatorProcess, Site, account
from tests.integration.pod_tools import WorkerPods

NODE_DEADLINE = 240.0  # a Pod starts in a second or two; a busy machine with ten of them takes its time
MOST_IN_ARGUMENT = 1000
JOINING = "import sys; n = 2 + int(sys.argv[1]); code = ''.join(sys.argv[2:n]); del sys.argv[1:n]; exec(code)"
PYTHON = "/opt/mahavishnu/bin/python"  # of the images
# Ten workers find room on a node of two processors.
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}


class PodSite(Site):
    """A namespace of a cluster that runs Pods."""

    @property
    def pods(self) -> WorkerPods:
        """The worker Pods in it."""
        return WorkerPods(self)

    async def pool(self, name: str = POOL, **spec: Any) -> Obj:
        """A WorkerPool of one small Pod that runs any command; `kubernetes` changes its template, None takes away."""
        template = {"resources": SMALL} | spec.pop("kubernetes", {})
        template = {field: value for field, value in template.items() if value is not None}
        return await super().pool(name, **{"backend": "kubernetes", "kubernetes": template} | spec)

    def scale(self, replicas: int, *, name: str = POOL) -> None:
        """What a person does to have so many workers."""
        self.kubectl("scale", f"workerpool/{name}", f"--replicas={replicas}")

    def edit(self, what: str, patch: str) -> None:
        """Merge JSON into an object, as in `edit("workerpool/local", '{"spec": ...}')`."""
        self.kubectl("patch", what, "--type=merge", "-p", patch)


def python_task(script: str, *arguments: object) -> list[str]:
    """A command task that runs a script in a Pod; a long one comes in several arguments, each within their bound."""
    if len(script) <= MOST_IN_ARGUMENT:
        return [PYTHON, "-c", script, *map(str, arguments)]
    parts = [script[at : at + MOST_IN_ARGUMENT] for at in range(0, len(script), MOST_IN_ARGUMENT)]
    return [PYTHON, "-c", JOINING, str(len(parts)), *parts, *map(str, arguments)]


def pod_operator(built: NodeCluster, folder: Path, *, worker_image: str, **options: Any) -> OperatorProcess:
    """An operator beside the node; the kinds and its account are installed. `options`: see OperatorProcess."""
    host = built.network.host_ip
    proof = built.plane.identities.issue("dispatcher", common_name="dispatcher", hosts=[host])
    entrance = Entrance(host, proof, built.plane.identities.authority.certificate)
    return OperatorProcess(
        account(built.cluster), folder, root=None, worker_image=worker_image, entrance=entrance, **options
    )
