"""The REST conventions, request by request, in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key
from mahavishnu_operator.resources.rest import api_app

from .asgi import Answer, call
from .conformance import job, pool

BASE = "/apis/mahavishnu.dev/v1alpha1"
POOLS = f"{BASE}/namespaces/default/workerpools"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Client:
    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def __call__(
        self, method: str, url: str, body: Any = None, *, type_: str = "application/json", accept: str = "*/*"
    ) -> Answer:
        headers = {"host": "localhost", "accept": accept, "user-agent": "pytest/1.0"}
        if body is not None:
            headers["content-type"] = type_
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await call(self._app, method, url, headers=headers, body=body)


@pytest.fixture
async def resources(tmp_path: Path) -> AsyncIterator[EmbeddedResources]:
    embedded = EmbeddedResources(tmp_path / "objects.db")
    yield embedded
    await embedded.close()


@pytest.fixture
def client(resources: EmbeddedResources) -> Client:
    return Client(api_app(resources))


async def test_an_error_is_a_status_that_clients_can_act_on(client: Client) -> None:
    status = (await client("GET", f"{POOLS}/nobody")).json
    assert (status["kind"], status["status"], status["reason"], status["code"]) == (
        "Status",
        "Failure",
        "NotFound",
        404,
    )
    assert status["details"] == {"name": "nobody", "group": "mahavishnu.dev", "kind": "workerpools"}
    assert 'workerpools "nobody" not found' in status["message"]


async def test_every_violation_is_a_cause(client: Client) -> None:
    answer = await client("POST", POOLS, pool("default", maxWorkers=-1, slotsPerWorker=0))
    assert answer.code == 422
    fields = {cause["field"] for cause in answer.json["details"]["causes"]}
    assert fields == {"spec.maxWorkers", "spec.slotsPerWorker"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing", 404),
        ("GET", f"{BASE}/namespaces/default/abaci", 404),
        ("DELETE", "/version", 405),
        ("GET", f"{BASE}/namespaces/default/scanjobs/j/scale", 404),
        ("GET", "/apis/", 404),
    ],
)
async def test_what_is_not_served_is_a_status_too(client: Client, method: str, path: str, code: int) -> None:
    answer = await client(method, path)
    assert (answer.code, answer.json["kind"], answer.json["code"]) == (code, "Status", code)


@pytest.mark.parametrize(
    ("body", "type_", "code", "words"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"[]", "application/json", 400, "no object"),
        (b"[" * 100_000, "application/json", 400, "deep"),
        (b'{"metadata": NaN}', "application/json", 400, "NaN"),
        (b"a: &x [1]\nb: *x", "application/yaml", 400, "aliases"),
        (b"a: !!python/object/apply:os.system [x]", "application/yaml", 400, "no place in JSON"),
        (b"\xff\xfe", "application/yaml", 400, "cannot be read"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "accepted: application/json"),
        (b"{}", "text/plain", 415, "text/plain"),
        (b"{}", "application/json", 400, "metadata"),
        (b'{"x": "' + b"y" * 1_600_000 + b'"}', "application/json", 413, "1572864 bytes"),
    ],
)
async def test_a_bad_body_is_refused_in_words(client: Client, body: bytes, type_: str, code: int, words: str) -> None:
    answer = await client("POST", POOLS, body, type_=type_)
    assert answer.code == code
    assert words in answer.json["message"]


async def test_a_member_given_twice_is_refused_when_strict(client: Client) -> None:
    twice = json.dumps(pool("default")).replace('"spec"', '"spec": {}, "spec"').encode()
    assert "spec is given twice" in (await client("POST", f"{POOLS}?fieldValidation=Strict", twice)).json["message"]
    assert (await client("POST", POOLS, twice)).code == 201


async def test_a_yaml_body_is_as_good_as_json(client: Client) -> None:
    text = b"""
apiVersion: mahavishnu.dev/v1alpha1
kind: WorkerPool
metadata: {name: p, annotations: {example.com/when: "2026-01-01"}}
spec: {backend: local-process}
"""
    assert (await client("POST", POOLS, text, type_="application/yaml")).code == 201


@pytest.mark.parametrize(
    ("validation", "code", "warned"), [("Strict", 422, False), ("Warn", 201, True), ("Ignore", 201, False)]
)
async def test_field_validation_is_honoured(client: Client, validation: str, code: int, warned: bool) -> None:
    answer = await client("POST", f"{POOLS}?fieldValidation={validation}", pool("default", wokers=1))
    assert answer.code == code
    assert bool(answer.all("warning")) is warned
    if warned:
        assert answer.all("warning")[0].startswith('299 - "')


@pytest.mark.parametrize(
    "query", ["fieldValidation=Perhaps", "dryRun=Some", "fieldManager=" + "x" * 129, "fieldManager=%07"]
)
async def test_an_unknown_parameter_value_is_refused(client: Client, query: str) -> None:
    assert (await client("POST", f"{POOLS}?{query}", pool("default"))).code == 400


async def test_the_url_decides_the_namespace_and_the_name(client: Client) -> None:
    nameless = pool("default")
    del nameless["metadata"]["namespace"]
    made = await client("POST", f"{BASE}/namespaces/team-a/workerpools", nameless)
    assert made.json["metadata"]["namespace"] == "team-a"
    wrong = await client("POST", f"{BASE}/namespaces/team-a/workerpools", pool("default"))
    assert (wrong.code, "URL names 'team-a'" in wrong.json["message"]) == (400, True)
    renamed = await client("PATCH", f"{POOLS}/q?fieldManager=me", pool("default", "p"), type_=APPLY)
    assert renamed.code == 400


async def test_a_put_needs_the_version_it_read(client: Client) -> None:
    made = (await client("POST", POOLS, pool("default"))).json
    bare = await client("PUT", f"{POOLS}/p", pool("default"))
    assert (bare.code, "resourceVersion must be specified" in bare.json["message"]) == (422, True)
    made["spec"]["maxWorkers"] = 4
    assert (await client("PUT", f"{POOLS}/p", made)).json["spec"]["maxWorkers"] == 4
    assert (await client("PUT", f"{POOLS}/p", made)).code == 409


async def test_an_apply_must_say_who_applies(client: Client) -> None:
    answer = await client("PATCH", f"{POOLS}/p", pool("default"), type_=APPLY)
    assert (answer.code, "fieldManager" in answer.json["message"]) == (400, True)
    assert (await client("PATCH", f"{POOLS}/p?fieldManager=me", pool("default"), type_=APPLY)).code == 201


async def test_an_apply_conflict_names_manager_and_field(client: Client) -> None:
    await client("PATCH", f"{POOLS}/p?fieldManager=gitops", pool("default", maxWorkers=3), type_=APPLY)
    answer = await client("PATCH", f"{POOLS}/p?fieldManager=me", pool("default", maxWorkers=4), type_=APPLY)
    assert answer.code == 409
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "gitops"', "field": ".spec.maxWorkers"}
    assert answer.json["details"]["causes"] == [cause]


async def test_a_writer_without_a_name_is_known_by_its_program(client: Client) -> None:
    made = (await client("POST", POOLS, pool("default"))).json
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["pytest"]


async def test_a_table_has_the_columns_and_the_metadata(client: Client) -> None:
    await client("POST", POOLS, pool("default"))
    table = (await client("GET", POOLS, accept=TABLE)).json
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [c["name"] for c in table["columnDefinitions"]][:2] == ["Name", "Backend"]
    assert table["rows"][0]["cells"][:2] == ["p", "local-process"]
    assert None not in table["rows"][0]["cells"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    bare = (await client("GET", f"{POOLS}?includeObject=None", accept=TABLE)).json
    assert "object" not in bare["rows"][0]


async def test_metadata_alone_can_be_had(client: Client) -> None:
    await client("POST", POOLS, pool("default"))
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    answer = (await client("GET", POOLS, accept=accept)).json
    assert answer["kind"] == "PartialObjectMetadataList"
    assert "spec" not in answer["items"][0]


async def test_what_we_cannot_answer_in_is_not_acceptable(client: Client) -> None:
    assert (await client("GET", POOLS, accept="application/vnd.kubernetes.protobuf")).code == 406


async def watched(client: Client, query: str, *, accept: str = "*/*") -> list[Any]:
    return (await client("GET", f"{POOLS}?watch=true&timeoutSeconds=1&{query}", accept=accept)).lines


async def test_a_watch_without_a_version_begins_with_what_is_there(client: Client) -> None:
    await client("POST", POOLS, pool("default"))
    assert [e["type"] for e in await watched(client, "")] == ["ADDED"]


async def test_initial_events_end_with_a_mark(client: Client) -> None:
    await client("POST", POOLS, pool("default"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    added, mark = await watched(client, query)
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_of_tables_heads_the_first_alone(client: Client) -> None:
    for name in ("a", "b"):
        await client("POST", POOLS, pool("default", name))
    first, second = await watched(client, "", accept=TABLE)
    assert first["object"]["columnDefinitions"]
    assert not second["object"]["columnDefinitions"]
    assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_a_watch_from_the_future_says_expired_in_its_stream(client: Client) -> None:
    (event,) = await watched(client, "resourceVersion=999999")
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_selects_by_name_and_label(client: Client) -> None:
    await client("POST", POOLS, pool("default", "a", labels={"tier": "fast"}))
    await client("POST", POOLS, pool("default", "b"))
    for query in ("fieldSelector=metadata.name%3Da", "labelSelector=tier%3Dfast"):
        assert [e["object"]["metadata"]["name"] for e in await watched(client, query)] == ["a"]
        assert [e["object"]["metadata"]["name"] for e in await watched(client, f"{query}&resourceVersion=1")] == ["a"]


async def test_a_scale_is_read_and_written(client: Client) -> None:
    await client("POST", POOLS, pool("default"))
    scale = (await client("GET", f"{POOLS}/p/scale")).json
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 1})
    scale["spec"]["replicas"] = 3
    assert (await client("PUT", f"{POOLS}/p/scale", scale)).json["spec"] == {"replicas": 3}
    assert (await client("PUT", f"{POOLS}/p/scale", scale)).code == 409
    patched = await client("PATCH", f"{POOLS}/p/scale", {"spec": {"replicas": 4}}, type_=MERGE)
    assert patched.json["spec"] == {"replicas": 4}
    for replicas in (-1, "5", True, 10_000_000):
        answer = await client("PATCH", f"{POOLS}/p/scale", {"spec": {"replicas": replicas}}, type_=MERGE)
        assert answer.code == 422


async def test_a_dry_run_of_a_scale_and_of_a_delete_changes_nothing(
    client: Client, resources: EmbeddedResources
) -> None:
    await client("POST", POOLS, pool("default"))
    await client("PATCH", f"{POOLS}/p/scale?dryRun=All", {"spec": {"replicas": 4}}, type_=MERGE)
    assert (await client("DELETE", f"{POOLS}/p?dryRun=All")).code == 200
    assert (await resources.get(WORKER_POOL, Key("default", "p")))["spec"]["replicas"] == 1


async def test_a_delete_names_the_uid_and_keeps_its_conditions(client: Client) -> None:
    made = (await client("POST", POOLS, pool("default"))).json
    wrong = await client("DELETE", f"{POOLS}/p", {"preconditions": {"uid": "other"}})
    assert (wrong.code, wrong.json["reason"]) == (409, "Conflict")
    stale = await client("DELETE", f"{POOLS}/p", {"preconditions": {"resourceVersion": "1"}})
    assert stale.code == 409
    done = await client("DELETE", f"{POOLS}/p", {"propagationPolicy": "Foreground"})
    assert (done.json["status"], done.json["details"]["uid"]) == ("Success", made["metadata"]["uid"])


async def test_a_collection_is_deleted_as_selected(client: Client, resources: EmbeddedResources) -> None:
    for name, tier in (("a", "fast"), ("b", "slow"), ("c", "fast")):
        await client("POST", POOLS, pool("default", name, labels={"tier": tier}))
    gone = await client("DELETE", f"{POOLS}?labelSelector=tier%3Dfast")
    assert [o["metadata"]["name"] for o in gone.json["items"]] == ["a", "c"]
    assert [o["metadata"]["name"] for o in (await resources.list(WORKER_POOL)).items] == ["b"]


async def test_events_of_clients_are_kept_with_their_object(client: Client, resources: EmbeddedResources) -> None:
    obj = await resources.create(SCAN_JOB, job("default"))
    involved = {"kind": "ScanJob", "name": "j", "namespace": "default", "uid": obj["metadata"]["uid"]}
    event = {"metadata": {"name": "e"}, "involvedObject": involved, "reason": "Planned", "type": "Normal", "count": 1}
    events = "/api/v1/namespaces/default/events"
    assert (await client("POST", events, event)).code == 201
    assert (await client("POST", events, event)).json["reason"] == "AlreadyExists"
    assert (await client("PATCH", f"{events}/e", {"count": 2}, type_=MERGE)).json["count"] == 2
    selected = (await client("GET", f"{events}?fieldSelector=involvedObject.name%3Dj%2Creason%3DPlanned")).json
    assert [e["count"] for e in selected["items"]] == [2]
    assert (await client("GET", f"{events}?fieldSelector=involvedObject.name%3Dother")).json["items"] == []
    stray = {**event, "metadata": {"name": "f"}, "involvedObject": {**involved, "uid": "gone"}}
    assert (await client("POST", events, stray)).code == 404


async def test_openapi_describes_what_is_validated(client: Client) -> None:
    root = (await client("GET", "/openapi/v3")).json["paths"]
    url = root["apis/mahavishnu.dev/v1alpha1"]["serverRelativeURL"]
    document = (await client("GET", url)).json
    schema = document["components"]["schemas"]["dev.mahavishnu.v1alpha1.WorkerPool"]
    assert schema["properties"]["spec"]["properties"]["maxWorkers"]["type"] == "integer"
    patch = document["paths"][f"{BASE}/namespaces/{{namespace}}/workerpools/{{name}}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}


async def test_odd_strings_go_in_and_out(client: Client) -> None:
    body = json.dumps(pool("default")).replace('"name"', '"annotations": {"a": "\\ud800 \\u0000 é"}, "name"').encode()
    assert (await client("POST", POOLS, body)).code == 201
    assert (await client("GET", f"{POOLS}/p")).json["metadata"]["annotations"]["a"] == "\ufffd \x00 é"


async def test_many_watchers_see_the_same(client: Client, resources: EmbeddedResources) -> None:
    since = (await resources.list(WORKER_POOL)).resource_version
    watchers = [asyncio.create_task(watched(client, f"resourceVersion={since}")) for _ in range(20)]
    for number in range(10):
        await resources.create(WORKER_POOL, pool("default", f"p{number}"))
    seen = [[e["object"]["metadata"]["name"] for e in await watcher] for watcher in watchers]
    assert seen == [[f"p{n}" for n in range(10)]] * 20
