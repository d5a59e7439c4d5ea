"""Files from a folder, a repository or a volume, scanned in Pods: the findings are those of a scan of them here.

The operator is installed by the chart: the API server's proxy, by which people come to it, leads to Pods alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.helm import Helm
from tests.cluster.node.cluster import NodeCluster
from tests.cluster.pki import Authority
from tests.integration.git_servers import PASSWORD, USERNAME, Repository, Sshd, https_git

from .helm_release import Release
from .installing import PYTHON, Place, made_place
from .people import Found, Person, found_here, found_in, made_person
from .pods import until
from .telling import PodWitness

POOL = "warm"
FILES = {"a.py": "import os\n", "sub/b.py": "import sys\nimport os\n", ".gitignore": "ignored/\n"}
CALL = """\
import socket
with socket.create_connection(({host!r}, {port}), 5) as line:
    line.sendall(b"began {name} here\\n")
    line.recv(1)
def plugin(version):
    from mypy.plugin import Plugin
    return Plugin
"""


@pytest.fixture(scope="module")
def place(built_node_cluster: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("volume")
    with made_place(built_node_cluster, folder, system="sources-system", team="sources-team") as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who proves the git servers; no image knows it."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def release(place: Place, helm: Helm, authority: Authority, operator_image: str, worker_image: str) -> Release:
    """An operator that knows the authority and takes a developer for a client; its pool has one Pod."""
    file = f"--from-file=ca.crt={authority.pair.certificate}"
    place.cluster.kubectl("create", "configmap", "git-authorities", file, "-n", place.system)
    client = {"kind": "ServiceAccount", "name": "developer", "namespace": place.team}
    values = {f"rbac.clients[0].{name}": value for name, value in client.items()}
    installed = Release(helm, place, (operator_image, worker_image))
    installed.put("install", **values, **{"gitAuthorities.existingConfigMap": "git-authorities"})
    place.pool(POOL)
    return installed


@pytest.fixture(scope="module")
def developer(release: Release, place: Place) -> Person:
    return made_person(place, "developer")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A work tree, with a file that git ignores, and what is served of it."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    made.commit(FILES)
    (made.tree / "ignored").mkdir()
    (made.tree / "ignored/c.py").write_text("import os\n")
    return made


@pytest.fixture(scope="module")
def expected(repository: Repository) -> Found:
    found = found_here(repository.tree, "ruff")
    assert {file for _, file, _ in found} == {"a.py", "sub/b.py"}
    return found


def test_a_folder_from_here_is_scanned_there_through_the_api_server(
    developer: Person, repository: Repository, expected: Found
) -> None:
    done = developer.scan(repository.tree, "ruff", pool=POOL)
    assert done.returncode == 0, done.stderr
    assert found_in(done.stdout) == expected
    name = re.search(rf"ScanJob {developer.namespace}/(\S+)", done.stderr)
    assert name is not None, done.stderr
    assert developer.report(name[1]) == expected


def test_who_is_no_client_is_told_which_right_is_missing_and_leaves_no_job_that_waits(
    release: Release, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "own.txt").write_text("content that nobody else has brought\n")
    done = made_person(place, "stranger").scan(tmp_path, "ruff", pool=POOL)
    assert done.returncode == 3
    assert "you need `services/proxy` on the operator's Service" in done.stderr
    name = re.search(r"ScanJob \S+/(\S+) is being cancelled", done.stderr)
    assert name is not None, done.stderr
    until(lambda: "over" if place.status("scanjob", name[1]).get("phase") == "Cancelled" else None)


def test_a_public_repository_is_fetched_by_a_worker(
    developer: Person, place: Place, repository: Repository, authority: Authority, expected: Found, host: str
) -> None:
    with https_git(repository, authority, host=host, public=True) as url:
        place.scan("public", {"git": {"url": url, "revision": "main"}}, "ruff", pool=POOL)
        place.completed("public")
    assert place.status("scanjob", "public")["source"]["commit"] == repository.head
    assert developer.report("public") == expected
    assert "public-source-" not in happened(place)


def test_a_private_repository_is_fetched_by_a_job(
    developer: Person, place: Place, repository: Repository, authority: Authority, expected: Found, host: str
) -> None:
    make_secret(place, "password", "basic-auth", {"username": USERNAME, "password": PASSWORD})
    with https_git(repository, authority, host=host) as url:
        place.scan("private", {"git": {"url": url, "credentialsSecretRef": {"name": "password"}}}, "ruff", pool=POOL)
        place.completed("private")
    assert place.status("scanjob", "private")["source"]["commit"] == repository.head
    assert developer.report("private") == expected
    assert "private-source-" in happened(place)
    assert PASSWORD not in happened(place) + place.kubectl("get", "pods,jobs,scanjobs", "-o", "json")


def test_a_private_repository_is_fetched_by_ssh(
    developer: Person, place: Place, repository: Repository, expected: Found, host: str, tmp_path: Path
) -> None:
    with Sshd(repository, tmp_path / "sshd", host=host) as sshd:
        make_secret(place, "key", "ssh-auth", sshd.secret)
        place.scan("by-ssh", {"git": {"url": sshd.url, "credentialsSecretRef": {"name": "key"}}}, "ruff", pool=POOL)
        place.completed("by-ssh")
    assert developer.report("by-ssh") == expected
    assert "PRIVATE KEY" not in happened(place)


def test_a_volume_is_packed_by_a_job(developer: Person, place: Place, repository: Repository, expected: Found) -> None:
    with claimed(place, repository.tree.parent) as claim:
        place.scan("volume", {"persistentVolumeClaim": {"claimName": claim, "subPath": "tree"}}, "ruff", pool=POOL)
        place.completed("volume")
    assert developer.report("volume") == expected
    assert "volume-source-" in happened(place)


def test_a_claim_that_is_not_there_is_named_while_it_is_waited_for(release: Release, place: Place) -> None:
    place.scan("waiting", {"persistentVolumeClaim": {"claimName": "nosuch"}}, "ruff", pool=POOL)
    until(lambda: "named" if "nosuch" in json.dumps(place.status("scanjob", "waiting")) else None)
    place.kubectl("delete", "scanjob", "waiting")


def test_a_mypy_plugin_of_a_hostile_folder_is_never_loaded(
    developer: Person, place: Place, host: str, tmp_path: Path
) -> None:
    """Whatever it would look for: it would call the witness, which hears the control alone."""
    with PodWitness(tmp_path / "witness", host=host) as witness:
        done = developer.scan(hostile(tmp_path / "tree", witness), "mypy", pool=POOL)
        place.job("control", [PYTHON, "-c", call(witness, "control")], pool=POOL)
        assert place.completed("control") == {"total": 1, "succeeded": 1}
    assert set(witness.read().began) == {"control"}
    assert done.returncode == 0, done.stderr
    assert ("attr-defined", "a.py", 2) in found_in(done.stdout)


@pytest.fixture(scope="module")
def host(built_node_cluster: NodeCluster) -> str:
    """Where Pods reach this machine."""
    return built_node_cluster.network.host_ip


def hostile(tree: Path, witness: PodWitness) -> Path:
    """A folder that names its plugin wherever mypy looks for a name, and has modules that Python loads by itself."""
    tree.mkdir()
    (tree / "a.py").write_text("import sys\nsys.nosuch\n")
    for name in ("plugged", "sitecustomize", "usercustomize"):
        (tree / f"{name}.py").write_text(call(witness, name))
    for name in ("mypy.ini", ".mypy.ini", "setup.cfg"):
        (tree / name).write_text("[mypy]\nplugins = plugged.py\n")
    (tree / "pyproject.toml").write_text('[tool.mypy]\nplugins = ["plugged.py"]\n')
    return tree


def call(witness: PodWitness, name: str) -> str:
    """Code that tells the witness of itself; loaded as a plugin it goes on as one."""
    host, port = witness.address
    return CALL.format(host=host, port=port, name=name)


def make_secret(place: Place, name: str, type_: str, keys: dict[str, str]) -> None:
    literals = [f"--from-literal={key}={value}" for key, value in keys.items()]
    place.kubectl("create", "secret", "generic", name, f"--type=kubernetes.io/{type_}", *literals)


def happened(place: Place) -> str:
    """The events, also about Jobs, which go with the end of their ScanJob."""
    return place.kubectl("get", "events", "-o", "json")


@contextmanager
def claimed(place: Place, folder: Path) -> Iterator[str]:
    """The name of a claim whose volume is that folder of the node's machine, for everybody to read."""
    folder.chmod(0o755)
    name = f"{place.team}-files"
    both = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = both | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}}
    claim = both | {"volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    place.create("v1", "PersistentVolume", name, volume)
    try:
        # A claim that comes before is looked at again only after a quarter of a minute.
        place.wait("--for=jsonpath={.status.phase}=Available", f"persistentvolume/{name}")
        place.create("v1", "PersistentVolumeClaim", name, claim)
        yield name
    finally:
        place.cluster.kubectl("delete", "persistentvolume", name, "--wait=false")
