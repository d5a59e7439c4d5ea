"""What stands around a pool's Pods: a PodDisruptionBudget for the busy ones, a NetworkPolicy for all. Pure.

The pressure: `kubectl drain`, an autoscaler of nodes and the descheduler evict whatever no budget protects; and tools
are hostile code with a network. What must stay true: a busy worker is never evicted and an idle one always may be; a
worker reaches the dispatcher and DNS and nothing else, and nothing reaches a worker.
"""

from __future__ import annotations

from typing import Any

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import Key, Kind, Obj

from .pods import owner_reference

BUDGET = Kind("PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", "pdb", api="policy/v1")
NETWORK_POLICY = Kind("NetworkPolicy", "networkpolicies", "networkpolicy", "netpol", api="networking.k8s.io/v1")
# More than there can ever be. With maxUnavailable 0 the expected number would come from the pool's /scale, and busy
# Pods above it, as there are in every scale-down, could be evicted.
ALL_OF_THEM = 2_147_483_647
# What autoscalers of nodes ask a Pod before they take its node away: cluster-autoscaler, and karpenter.
NOT_SAFE_TO_EVICT = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}


def disruption_budget(pool: Key, uid: str) -> Obj:
    """Refuses the eviction of Pods with label busy=true; unhealthy ones may always be evicted."""
    selector = {"matchLabels": {Label.POOL: pool.name, Label.BUSY: "true"}}
    spec = {"minAvailable": ALL_OF_THEM, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector}
    return _guard(BUDGET, pool, uid, spec)


def network_policy(pool: Key, uid: str, *, dispatcher_port: int) -> Obj:
    """Lets nothing in; out to DNS, and to operators at the dispatcher's port."""
    operators = {"namespaceSelector": {}, "podSelector": {"matchLabels": {Label.COMPONENT: "operator"}}}
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    spec = {
        "podSelector": {"matchLabels": {Label.POOL: pool.name, Label.COMPONENT: "worker"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [{"ports": dns}, {"to": [operators], "ports": [{"port": dispatcher_port, "protocol": "TCP"}]}],
    }
    return _guard(NETWORK_POLICY, pool, uid, spec)


def guard_name(pool: Key) -> str:
    """The name of both: a pool's own, which is unique among our kind."""
    return f"mahavishnu-{pool.name}"


def _guard(kind: Kind, pool: Key, uid: str, spec: dict[str, Any]) -> Obj:
    return {
        "apiVersion": kind.api,
        "kind": kind.kind,
        "metadata": {
            "name": guard_name(pool),
            "namespace": pool.namespace,
            "labels": {Label.MANAGED_BY: "mahavishnu", Label.POOL: pool.name},
            "ownerReferences": [owner_reference(pool, uid)],
        },
        "spec": spec,
    }
