"""Manifests that are no manifests, given to the real command and server: refused in words, and nothing is stored."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .cli_tools import MAHAVISHNU, Up, environment, run, running_up

HEAD = "apiVersion: mahavishnu.dev/v1alpha1\nkind: WorkerPool\n"
POOL = HEAD + "metadata: {name: a}\nspec: {backend: local-process, replicas: 0}\n"
BOMB = "\n".join(["x0: &x0 {k: v}"] + [f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 10)}]}}" for i in range(1, 12)])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


def pools(up: Up) -> list[str]:
    done = up.run("get", "wp", "-A", "-o", "json")
    assert done.returncode == 0, done.stderr
    return sorted(item["metadata"]["name"] for item in json.loads(done.stdout)["items"])


def refused(up: Up, *arguments: str | Path) -> str:
    """What the person reads; the command ended with 2, in a line or two, and nothing was stored."""
    done = up.run(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 2
    assert len(done.stderr) < 2000
    assert done.stdout == ""
    assert pools(up) == []
    return done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(POOL + "spec: {}\n", "line 5: spec is given twice", id="a key twice"),
        pytest.param(POOL + BOMB, "once its aliases are unfolded", id="a bomb of merged keys"),
        pytest.param(POOL + "x: " + "[" * 900_000, "nested deeper than 64 levels", id="deep"),
        pytest.param(POOL + "---\n" + POOL + "---\nkind: [\n", "line 12", id="the last document is broken"),
        pytest.param(POOL.replace("replicas: 0", "replicas: .nan"), "no number of JSON", id="NaN"),
        pytest.param(POOL.replace("replicas: 0", "replicas: 1e400"), "no number of JSON", id="1e400"),
        pytest.param(POOL.replace("replicas: 0", f"replicas: {'9' * 5000}"), "no number of JSON", id="5000 digits"),
        pytest.param(POOL.replace("replicas: 0", "replicas: 1e30"), "spec.replicas: is 1e+30", id="a huge number"),
        pytest.param(POOL.replace("replicas: 0", "replicas: !!int x"), "'x' is no int", id="no number"),
        pytest.param(POOL.replace("replicas: 0", "replicas: 2024-13-45"), '"2024-13-45"', id="no date"),
        pytest.param(POOL.replace("name: a", "name: 7"), "metadata.name is 7; a text is needed", id="a number as name"),
        pytest.param(POOL.replace("name: a", "name: a/b"), "'a/b' cannot be a name", id="a slash in the name"),
        pytest.param(POOL.replace("name: a", "name: .."), "'..' cannot be a name", id="dots as name"),
        pytest.param(POOL.replace("name: a", 'name: ""'), "metadata.name", id="an empty name"),
        pytest.param(POOL.replace("name: a", "name: zoë"), '"zoë"; allowed is', id="letters of another alphabet"),
        pytest.param(
            POOL.replace("name: a", "namespace: 5, name: a"), "metadata.namespace is 5", id="a namespace of 5"
        ),
        pytest.param(POOL.replace("metadata: {name: a}\n", ""), "metadata.name is missing", id="no name"),
        pytest.param(POOL + "---\n" + POOL, "WorkerPool default/a is there twice", id="a duplicate name"),
        pytest.param(POOL.encode("utf-16").decode("latin-1"), "control characters", id="another encoding"),
        pytest.param(POOL + "\0", "control characters", id="NUL"),
        pytest.param("#" * (1024 * 1024 + 1), "is over 1048576 bytes", id="over 1 MiB"),
        pytest.param(POOL + f"x: {'y' * 1_000_000}", "x: is not a field", id="an unknown field of 1 MB"),
    ],
)
def test_a_bad_manifest_is_refused_and_nothing_is_stored(up: Up, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    assert words in refused(up, "apply", "-f", file)


def test_what_unfolds_without_end_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(BOMB)
    most = 1024**3
    done = subprocess.run(
        [MAHAVISHNU, "apply", "-f", str(tmp_path / "m.yaml")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )
    assert (done.returncode, "unfolded" in done.stderr) == (2, True)


def test_a_manifest_with_a_byte_order_mark_and_windows_line_ends_is_a_manifest(up: Up, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("\ufeff" + POOL, newline="\r\n")
    done = up.run("apply", "-f", tmp_path / "m.yaml")
    assert done.stdout == "workerpool/a applied\n", done.stderr
    assert up.run("delete", "-f", tmp_path / "m.yaml").returncode == 0


def test_what_yaml_takes_for_a_date_stays_the_text_that_was_written(up: Up, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(POOL.replace("name: a", "name: a, annotations: {since: 2024-01-02}"))
    assert up.run("apply", "-f", tmp_path / "m.yaml").returncode == 0
    stored = yaml.safe_load(up.run("get", "wp", "a", "-o", "yaml").stdout)
    assert stored["metadata"]["annotations"] == {"since": "2024-01-02"}
    assert up.run("delete", "wp", "a").returncode == 0


@pytest.mark.parametrize("name", ["folder.yaml", "gone.yaml", "loop.yaml", "a" * 300])
def test_what_is_no_file_is_refused(up: Up, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    said = refused(up, "apply", "-f", tmp_path / name)
    assert "cannot read" in said or "holds no object" in said


def test_a_file_without_an_end_is_refused(up: Up) -> None:
    assert "/dev/zero is over 1048576 bytes" in refused(up, "apply", "-f", "/dev/zero")


def test_a_pipe_in_a_folder_of_manifests_is_not_waited_for(up: Up, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POOL)
    os.mkfifo(tmp_path / "b.yaml")
    assert "b.yaml: it is no regular file" in refused(up, "apply", "-f", tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "%2e"])
@pytest.mark.parametrize("verb", ["delete", "get", "describe"])
def test_a_name_that_would_name_the_whole_collection_is_refused(up: Up, tmp_path: Path, verb: str, name: str) -> None:
    (tmp_path / "m.yaml").write_text(POOL)
    assert up.run("apply", "-f", tmp_path / "m.yaml").returncode == 0
    done = up.run(verb, "wp", name)
    assert (done.returncode, "cannot be a name" in done.stderr) == (2, True)
    assert pools(up) == ["a"]
    assert up.run("delete", "wp", "a").returncode == 0


@pytest.mark.parametrize("server", ["http://[::1", "http://127.0.0.1:port", "ftp://x", "", "http://u:p@127.0.0.1"])
def test_an_address_that_is_none_is_refused(server: str) -> None:
    done = run("get", "wp", "--server", server, MAHAVISHNU_URL="nonsense")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text", ["url: [", "- 1", "\0", "colour: red", "workers: many", "url: !!python/name:os.system"]
)
def test_a_bad_configuration_file_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    done = run("get", "wp", MAHAVISHNU_CONFIG=str(tmp_path / "config.yaml"))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "config.yaml") in done.stderr
