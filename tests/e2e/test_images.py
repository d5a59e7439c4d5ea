"""What is in the images, and what is not: looked up in their files, not asked of a container."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

import mahavishnu_operator
from tests.cluster.client import Cluster
from tests.images.building import RECIPES, ensure_image
from tests.images.content import Content, read_content

COMPILERS = {"cc", "c++", "gcc", "g++", "cpp", "clang", "tcc", "rustc", "cargo", "go", "make", "ld", "as", "cc1"}
CACHES = (
    "root/.cache/",
    "tmp/",
    "var/cache/apt/",
    "var/lib/apt/lists/",
    "var/log/apt/",
    "build/",
    "opt/mahavishnu/build/",
)
SCANNERS = {"bandit", "codespell", "complexipy", "mypy", "ruff", "vulture"}


@pytest.fixture(scope="module", params=sorted(RECIPES))
def name(request: pytest.FixtureRequest, node_cluster: Cluster) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def content(name: str) -> Content:
    return read_content(ensure_image(name).archive)


def test_it_holds_no_compiler(content: Content) -> None:
    assert not programs(content) & COMPILERS
    assert not [path for path in content.files if path.endswith(("/cc1", ".h")) and "/include/" in path]


def test_it_holds_no_cache_of_what_was_installed(content: Content) -> None:
    assert not [path for path, size in content.files.items() if path.startswith(CACHES) and size > 0]
    assert "pip" not in programs(content, folder="opt/mahavishnu/bin")


def test_it_is_not_root_and_says_what_it_is(name: str, content: Content) -> None:
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in content.config["Labels"].items()}
    assert content.config["User"] == "65532:65532"
    assert content.config["Entrypoint"] == ["mahavishnu"]
    assert labels["version"] == mahavishnu_operator.__version__
    assert labels["revision"] in ensure_image(name).reference
    assert labels["licenses"] == "BSD-3-Clause"
    assert {"title", "description"} <= labels.keys()


def test_it_holds_the_programs_that_it_is_for(name: str, content: Content) -> None:
    there = programs(content)
    assert "mahavishnu" in there
    assert there & SCANNERS == (SCANNERS if name == "worker" else set())
    assert ("git" in there) == name.startswith("worker")


def programs(content: Content, *, folder: str = "") -> set[str]:
    """The names of files in folders of programs, or in one folder."""
    paths = map(PurePosixPath, content.files)
    return {p.name for p in paths if (str(p.parent) == folder if folder else p.parent.name in {"bin", "sbin"})}
