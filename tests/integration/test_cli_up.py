"""`mahavishnu up` and the client commands, as processes; kubectl as the second client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from .cli_tools import Up, environment, run, run_program, running_up

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
POOL = {
    "apiVersion": "mahavishnu.dev/v1alpha1",
    "kind": "WorkerPool",
    "metadata": {"name": "local"},
    "spec": {"backend": "local-process", "allowedCommands": ["any"]},
}


def job(name: str, *commands: list[str], **spec: object) -> dict[str, object]:
    tasks = [{"id": f"t{number}", "command": command} for number, command in enumerate(commands)]
    return {
        "apiVersion": "mahavishnu.dev/v1alpha1",
        "kind": "ScanJob",
        "metadata": {"name": name},
        "spec": {"poolRef": {"name": "local"}, "tasks": tasks, **spec},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up") / "data") as running:
        yield running


@pytest.fixture
def up(server: Up, kubectl_binary: Path) -> Iterator[Up]:
    """A server without an object."""
    yield server
    kubectl(server, kubectl_binary, "delete", "scanjobs,workerpools", "--all", "--timeout=30s")


def apply(up: Up, tmp_path: Path, *objects: object) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    done = up.run("apply", "-f", file)
    assert done.returncode == 0, done.stderr


def kubectl(up: Up, binary: Path, *arguments: str) -> str:
    command = [
        str(binary),
        "--kubeconfig",
        str(up.data / "kubeconfig"),
        "--cache-dir",
        str(up.data / "kubectl"),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_complete(up: Up, binary: Path, name: str) -> None:
    kubectl(up, binary, "wait", "--for=condition=Complete", f"scanjob/{name}", "--timeout=30s")


def test_the_examples_run_as_the_readme_says(up: Up, kubectl_binary: Path) -> None:
    manifests = ("-f", EXAMPLES / "pool.yaml", "-f", EXAMPLES / "commands.yaml")
    applied = run_program("apply", *manifests, MAHAVISHNU_URL=up.url)
    assert applied.stdout == "workerpool/local applied\nscanjob/hello applied\n"
    wait_complete(up, kubectl_binary, "hello")
    assert run_program("logs", "hello", "--task", "greet", MAHAVISHNU_URL=up.url).stdout == "hello from a worker\n"
    assert "Succeeded" in up.run("get", "scanjobs").stdout
    assert "all 2 tasks succeeded" in up.run("describe", "scanjob", "hello").stdout


def test_what_is_applied_described_and_deleted_is_printed_for_programs_too(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(yaml.safe_dump(POOL))
    applied = json.loads(up.run("apply", "-f", file, "-o", "json").stdout)
    assert [each["metadata"]["name"] for each in applied["items"]] == ["local"]
    described = yaml.safe_load(up.run("describe", "wp", "local", "-o", "yaml").stdout)
    assert described["object"]["metadata"]["uid"] == applied["items"][0]["metadata"]["uid"]
    assert isinstance(described["events"], list)
    done = up.run("delete", "wp", "local", "gone", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)) == (
        1,
        {"deleted": [{"kind": "WorkerPool", "namespace": "default", "name": "local"}]},
    )


def test_get_prints_the_same_object_as_json_yaml_and_row(up: Up, tmp_path: Path) -> None:
    apply(up, tmp_path, POOL)
    as_json = json.loads(up.run("get", "wp", "local", "-o", "json").stdout)
    as_yaml = yaml.safe_load(up.run("get", "wp", "local", "-o", "yaml").stdout)
    assert as_json["metadata"]["uid"] == as_yaml["metadata"]["uid"]
    assert up.run("get", "wp").stdout.splitlines()[1].startswith("local   local-process")


def test_an_object_that_is_not_there_is_named_and_exits_1(up: Up) -> None:
    done = up.run("get", "sj", "nope")
    assert done.returncode == 1
    assert '"nope" not found' in done.stderr


def test_a_misspelt_field_is_refused_and_nothing_is_stored(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    wrong = {**POOL, "metadata": {"name": "other"}, "spec": {**POOL["spec"], "maxWorker": 3}}  # type: ignore[dict-item]
    file.write_text(yaml.safe_dump_all([POOL, wrong]))
    done = up.run("apply", "-f", file)
    assert done.returncode == 2
    assert "maxWorker" in done.stderr
    assert "no workerpools" in up.run("get", "wp").stderr


def test_without_a_server_the_client_says_so_and_exits_4() -> None:
    done = run("get", "wp", "--server", "http://127.0.0.1:9")
    assert done.returncode == 4
    assert "cannot be reached" in done.stderr


def test_a_second_server_on_the_same_folder_is_refused(up: Up) -> None:
    done = run("up", "--data", up.data, "--port", "0", "--dispatch-port", "0")
    assert done.returncode != 0
    assert "in use by process" in done.stderr


def test_kubectl_scales_and_deletes(up: Up, tmp_path: Path, kubectl_binary: Path) -> None:
    apply(up, tmp_path, POOL)
    kubectl(up, kubectl_binary, "scale", "workerpool/local", "--replicas=2")
    kubectl(up, kubectl_binary, "wait", "--for=jsonpath={.status.ready}=2", "wp/local", "--timeout=30s")
    kubectl(up, kubectl_binary, "delete", "wp", "local")
    assert "no workerpools" in up.run("get", "wp").stderr


def test_after_kill_9_jobs_go_on_and_each_task_counts_once(tmp_path: Path, kubectl_binary: Path) -> None:
    data, go = tmp_path / "data", tmp_path / "go"
    wait = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    commands = [["true"], ["python3", "-c", wait, str(go)], ["true"]]
    with running_up(data) as first:
        apply(first, tmp_path, POOL, job("long", *commands))
        kubectl(first, kubectl_binary, "wait", "--for=jsonpath={.status.tasks.running}=1", "sj/long", "--timeout=30s")
        below = first.kill()
        _, alive = psutil.wait_procs(below, timeout=30)
        assert not alive
    go.touch()
    with running_up(data) as second:
        wait_complete(second, kubectl_binary, "long")
        counts = json.loads(second.run("get", "sj", "long", "-o", "json").stdout)["status"]["tasks"]
    assert (counts["total"], counts["succeeded"], counts["failed"]) == (3, 3, 0)


def test_a_job_for_a_pool_that_is_not_there_waits_and_says_so(up: Up, tmp_path: Path, kubectl_binary: Path) -> None:
    apply(up, tmp_path, job("early", ["true"]))
    reason = "--for=jsonpath={.status.conditions[?(@.type=='Accepted')].reason}=PoolNotFound"
    kubectl(up, kubectl_binary, "wait", reason, "sj/early", "--timeout=30s")
    apply(up, tmp_path, POOL)
    wait_complete(up, kubectl_binary, "early")


def test_a_data_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("up", "--data", tmp_path / "file" / "data", "--port", "0", "--dispatch-port", "0")
    assert done.returncode == 2
    assert "cannot keep state in" in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_of_a_job_that_was_refused_name_the_job_and_not_its_uid(up: Up, tmp_path: Path) -> None:
    apply(up, tmp_path, job("early", ["true"]))
    done = up.run("logs", "early")
    assert done.returncode == 1
    assert "scanjob default/early has no tasks yet" in done.stderr


def test_logs_head_only_tasks_that_wrote_something(up: Up, tmp_path: Path, kubectl_binary: Path) -> None:
    apply(
        up,
        tmp_path,
        {**POOL, "spec": {"backend": "local-process"}},
        job("some", ["true"], ["echo", "a"], ["echo", "b"]),
    )
    wait_complete(up, kubectl_binary, "some")
    assert up.run("logs", "some").stdout == "==> t1 <==\na\n==> t2 <==\nb\n"
    assert up.run("jobs", "logs", "some").stdout == "==> t1 <==\na\n==> t2 <==\nb\n"
    texts = [{"task": task, "stdout": text} for task, text in (("t0", ""), ("t1", "a\n"), ("t2", "b\n"))]
    for command in (("logs",), ("jobs", "logs")):
        assert json.loads(up.run(*command, "some", "-o", "json").stdout) == texts
    silent = up.run("logs", "some", "--stream", "stderr")
    assert (silent.stdout, silent.stderr) == ("", "no task of scanjob default/some wrote to stderr\n")


def test_deleting_one_that_is_not_there_spares_none_of_the_others(up: Up, tmp_path: Path) -> None:
    apply(up, tmp_path, POOL)
    done = up.run("delete", "wp", "gone", "local")
    assert done.returncode == 1
    assert '"gone" not found' in done.stderr
    assert done.stdout == "workerpool/local deleted\n"


def test_a_folder_is_applied_pools_first(up: Up, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a-job.yaml").write_text(yaml.safe_dump(job("first", ["true"])))
    (folder / "b-pool.yaml").write_text(yaml.safe_dump(POOL))
    done = up.run("apply", "-f", folder)
    assert done.stdout.splitlines() == ["workerpool/local applied", "scanjob/first applied"]


@pytest.mark.parametrize(
    ("words", "fitting", "directive"),
    [
        (["pool", "sp"], ["spawn"], ":4"),
        (["scan", "--fail-on", ""], ["none", "note", "warning", "error"], ":4"),
        (["apply", "-f", ""], [], ":0"),
        (["scan", "it's here", "--fail-on", "w"], ["warning"], ":4"),
    ],
)
def test_kubectl_completes_what_is_typed_behind_its_plugin(
    kubectl_binary: Path, words: list[str], fitting: list[str], directive: str
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    asked = [str(kubectl_binary), "__complete", "mahavishnu", *words]
    done = subprocess.run(asked, env=environment(PATH=path), capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*fitting, directive]
