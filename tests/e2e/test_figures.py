"""What Pods use is counted, as `kubectl top` and autoscalers see it."""

from tests.cluster.client import Cluster

from .pods import create, sleeper, until


def test_what_pods_use_is_counted(metrics: Cluster, node_namespace: str, worker_image: str) -> None:
    create(metrics, node_namespace, sleeper("counted", worker_image))
    answer = until(lambda: metrics.kubectl("top", "pod", "-n", node_namespace, check=False).stdout)
    assert answer.splitlines()[1].split()[0] == "counted"
