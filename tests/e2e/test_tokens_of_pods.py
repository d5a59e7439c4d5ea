"""Who may call the dispatcher: a worker Pod of the pool that it names, with its own token, while it exists."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mahavishnu_operator.resources.protocol import Obj
from tests.cluster.node.cluster import NodeCluster
from tests.integration.dispatch_tools import Refused, WireClient
from tests.integration.operator_tools import POOL, OperatorProcess

from .operating import PodSite


@dataclass(frozen=True)
class Door:
    """The operator's dispatcher, seen by somebody who says to be the worker of a Pod."""

    http: aiohttp.ClientSession
    url: str
    site: PodSite

    async def refusal(self, token: str, *, worker: str, pool: str = POOL) -> Refused:
        """What the answer to register is; Failed when it is let in."""
        client = WireClient(self.http, self.url, token, worker=worker, pool=f"{self.site.namespace}/{pool}")
        with pytest.raises(Refused) as refused:
            await client.register()
        return refused.value


@pytest.fixture
async def door(built_node_cluster: NodeCluster, operator: OperatorProcess, site: PodSite) -> AsyncIterator[Door]:
    authority = built_node_cluster.plane.identities.authority.certificate
    tls = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=authority))
    async with aiohttp.ClientSession(connector=tls) as http:
        yield Door(http, operator.dispatcher, site)


@pytest.fixture
async def pod(site: PodSite) -> Obj:
    """The Pod of a pool of one."""
    await site.pool()
    await site.ready(1)
    (only,) = await site.pods.pods(1)
    return only


def name(pod: Obj) -> str:
    return str(pod["metadata"]["name"])


async def test_a_token_for_another_audience_is_refused(door: Door, site: PodSite, pod: Obj) -> None:
    token = site.pods.token(pod, audience="https://kubernetes.default.svc.cluster.local")
    refused = await door.refusal(token, worker=name(pod))
    assert (refused.status, refused.body.reason) == (401, "TokenUnknown")


async def test_a_token_of_another_pool_is_refused(door: Door, site: PodSite, pod: Obj) -> None:
    await site.pool("other", replicas=0)
    refused = await door.refusal(site.pods.token(pod), worker=name(pod), pool="other")
    assert (refused.status, refused.body.reason) == (403, "Forbidden")
    assert f"for worker '{name(pod)}' of pool '{site.namespace}/{POOL}'" in refused.body.message


async def test_a_token_of_another_worker_is_refused(door: Door, site: PodSite, pod: Obj) -> None:
    refused = await door.refusal(site.pods.token(pod), worker="somebody")
    assert (refused.status, refused.body.reason) == (403, "Forbidden")


async def test_a_token_of_a_deleted_pod_is_refused(door: Door, site: PodSite, pod: Obj) -> None:
    token = site.pods.token(pod)
    site.kubectl("delete", "pod", name(pod))
    refused = await door.refusal(token, worker=name(pod))
    assert (refused.status, refused.body.reason) == (401, "TokenUnknown")


async def test_a_pod_that_claims_a_pool_by_its_labels_alone_is_refused(door: Door, site: PodSite, pod: Obj) -> None:
    forged = await site.pods.forge(pod, name="forged")
    refused = await door.refusal(site.pods.token(forged), worker="forged")
    assert (refused.status, refused.body.reason) == (403, "Forbidden")
    assert "is not controlled by a WorkerPool" in refused.body.message


async def test_a_token_of_no_pod_is_refused(door: Door, site: PodSite, pod: Obj) -> None:
    token = site.kubectl("create", "token", "default", "--audience", "dispatcher.mahavishnu.dev").strip()
    refused = await door.refusal(token, worker=name(pod))
    assert (refused.status, refused.body.reason) == (403, "Forbidden")
    assert "is not bound to a Pod" in refused.body.message


async def test_a_token_that_has_expired_is_refused(
    door: Door, site: PodSite, pod: Obj, built_node_cluster: NodeCluster
) -> None:
    token = expired(site.pods.token(pod), built_node_cluster.plane.identities.token_key)
    refused = await door.refusal(token, worker=name(pod))
    assert (refused.status, refused.body.reason) == (401, "TokenUnknown")


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "x" * 20000, "eyJhbGciOiJub25lIn0.e30."])
async def test_garbage_is_no_token(door: Door, token: str) -> None:
    refused = await door.refusal(token, worker="w")
    assert (refused.status, refused.body.reason) == (401, "TokenUnknown")


def expired(token: str, key: Path) -> str:
    """The same token as its API server would have made it a day ago."""
    head, claims = (json.loads(_decoded(part)) for part in token.split(".")[:2])
    claims |= {moment: claims[moment] - 86_400 for moment in ("exp", "iat", "nbf")}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_encoded(r.to_bytes(32) + s.to_bytes(32))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
