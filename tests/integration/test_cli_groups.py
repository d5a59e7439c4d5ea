"""`mahavishnu pool`, `jobs`, `workers` and `mcp` as a person runs them: one shell makes, another one looks."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .cli_tools import DEADLINE_SECONDS, MAHAVISHNU, Up, environment, run, running_up

COLOUR = re.compile(rb"\x1b\[[0-9;]*(?<![0-9])[34][0-7]m")
COMMANDS = """\
apiVersion: mahavishnu.dev/v1alpha1
kind: ScanJob
metadata:
  name: {name}
spec:
  poolRef: {{name: shared}}
  tasks:
    - {{id: first, command: [{command}]}}
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    with running_up(folder / "state") as running:
        done = running.run("pool", "spawn", "--name", "shared", "--min", "0", "--max", "3")
        assert (done.returncode, "1 of 1 workers ready" in done.stderr) == (0, True), done.stderr
        yield running


def answered(done: subprocess.CompletedProcess[str], *, code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def submit(up: Up, folder: Path, name: str, command: str) -> None:
    manifest = folder / f"{name}.yaml"
    manifest.write_text(COMMANDS.format(name=name, command=command))
    assert up.run("apply", "-f", manifest).returncode == 0


def test_a_pool_spawned_in_one_shell_is_listed_in_another(up: Up) -> None:
    table = up.run("pool", "list").stdout.splitlines()
    assert table[0].split()[:3] == ["POOL", "TYPE", "STATUS"]
    assert any(line.split()[:3] == ["default/shared", "local-process", "running"] for line in table)


def test_rows_are_those_of_the_tools_in_json_and_yaml(up: Up) -> None:
    rows = answered(up.run("pool", "list", "-o", "json"))
    assert next(row for row in rows if row["name"] == "shared")["pool_id"] == "default/shared"
    assert [row["pool_id"] for row in yaml.safe_load(up.run("pool", "list", "-o", "yaml").stdout)] == [
        row["pool_id"] for row in rows
    ]


def test_a_pool_is_scaled_within_its_range_alone(up: Up) -> None:
    assert answered(up.run("pool", "scale", "shared", "--target", "2", "-o", "json"))[0]["workers"] == 2
    refused = up.run("pool", "scale", "shared", "--target", "4")
    assert (refused.returncode, "choose a number from 0 to 3" in refused.stderr) == (2, True)


def test_a_pool_is_closed_and_gone(up: Up) -> None:
    up.run("pool", "spawn", "--name", "short", "--max", "1")
    assert up.run("pool", "close", "default/short").stdout == "pool default/short closed\n"
    assert "default/short" not in up.run("pool", "list").stdout
    gone = up.run("pool", "close", "short")
    assert (gone.returncode, gone.stdout, "short" in gone.stderr) == (1, "", True)


def test_one_that_is_not_there_spares_none_of_the_others(up: Up, tmp_path: Path) -> None:
    up.run("pool", "spawn", "--name", "there", "--max", "0", "--min", "0")
    some = answered(up.run("pool", "close", "nosuch", "there", "-o", "json"), code=1)
    assert ([row["pool_id"] for row in some["closed"]], list(some["kept"])) == (["default/there"], ["default/nosuch"])
    submit(up, tmp_path, "endless", "sleep, '600'")
    done = up.run("jobs", "cancel", "nosuch", "endless", "-o", "json")
    assert [row["job_id"] for row in answered(done, code=1)] == ["default/endless"]
    assert "not cancelled: " in done.stderr
    assert answered(up.run("workers", "close", "nosuch", "-o", "json"), code=1)["closed_count"] == 0


def test_all_pools_are_closed_but_those_that_others_made(up: Up, tmp_path: Path) -> None:
    up.run("pool", "spawn", "--name", "own", "--max", "1", "--namespace", "elsewhere")
    manifest = tmp_path / "pool.yaml"
    manifest.write_text(
        "{apiVersion: mahavishnu.dev/v1alpha1, kind: WorkerPool, metadata: {name: theirs, namespace: elsewhere},"
        " spec: {backend: local-process, minWorkers: 0, maxWorkers: 1, replicas: 0}}"
    )
    assert up.run("apply", "-f", manifest).returncode == 0
    closed = answered(up.run("pool", "close", "--all", "-n", "elsewhere", "-o", "json"))
    assert closed == {"closed": [{"pool_id": "elsewhere/own", "status": "closed"}], "kept": {}}
    assert [row["name"] for row in answered(up.run("pool", "list", "-n", "elsewhere", "-o", "json"))] == ["theirs"]


def test_a_job_is_waited_for_shown_and_its_output_read(up: Up, tmp_path: Path) -> None:
    submit(up, tmp_path, "good", "echo, hello")
    row = answered(up.run("jobs", "wait", "good", "-o", "json"))[0]
    assert (row["status"], row["verdict"], row["pool_id"]) == ("succeeded", "passed", "default/shared")
    assert up.run("jobs", "logs", "good").stdout == "hello\n"
    assert answered(up.run("jobs", "logs", "good", "-o", "json")) == [{"task": "first", "stdout": "hello\n"}]
    shown = answered(up.run("jobs", "show", "default/good", "-o", "json"))
    assert [(task["id"], task["status"], task["exitCode"]) for task in shown["tasks"]] == [("first", "succeeded", 0)]
    assert "first" in up.run("jobs", "show", "good").stdout
    assert "default/good" in up.run("jobs", "list").stdout


def test_a_job_that_did_not_pass_is_told_by_the_exit_code(up: Up, tmp_path: Path) -> None:
    submit(up, tmp_path, "bad", "'false'")
    assert answered(up.run("jobs", "wait", "bad", "-o", "json"), code=1)[0]["verdict"] == "failed"


def test_a_job_is_cancelled_and_waiting_for_it_ends(up: Up, tmp_path: Path) -> None:
    submit(up, tmp_path, "long", "sleep, '600'")
    early = up.run("jobs", "wait", "long", "--timeout", "0")
    assert (early.returncode, "has not ended after 0 s" in early.stderr) == (3, True)
    assert up.run("jobs", "cancel", "long").returncode == 0
    assert answered(up.run("jobs", "wait", "long", "-o", "json"), code=3)[0]["status"] == "cancelled"


def test_a_scan_reported_by_jobs_report_is_the_same_as_by_report(up: Up, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n")
    manifest = tmp_path / "scan.yaml"
    manifest.write_text(
        "{apiVersion: mahavishnu.dev/v1alpha1, kind: ScanJob, metadata: {name: scanned},"
        f" spec: {{poolRef: {{name: shared}}, source: {{path: {tmp_path}}}, scan: {{tools: [ruff]}}}}}}"
    )
    assert up.run("apply", "-f", manifest).returncode == 0
    assert up.run("jobs", "wait", "scanned").returncode == 1
    report = answered(up.run("jobs", "report", "scanned", "-o", "json"), code=1)
    assert report["findings"]["total"] == 1
    assert report["seconds"] == answered(up.run("jobs", "show", "scanned", "-o", "json"))["seconds"]
    assert yaml.safe_load(up.run("jobs", "report", "scanned", "-o", "yaml").stdout)["sarif"] == report["sarif"]


def test_a_command_writes_where_it_would_have_written_here(up: Up, tmp_path: Path) -> None:
    (tmp_path / "clean.py").write_text('"""Clean."""\n')
    done = run("pool", "execute", "shared", "-p", "ruff check clean.py", cwd=tmp_path, MAHAVISHNU_URL=up.url)
    assert (done.returncode, done.stdout) == (0, "All checks passed!\n"), done.stderr
    assert "completed on default/shared-" in done.stderr


def test_a_command_that_failed_is_another_exit_code_than_one_that_did_not_run(up: Up) -> None:
    assert answered(up.run("pool", "execute", "shared", "-p", "false", "-o", "json"), code=1)["exit_code"] == 1
    slow = answered(up.run("pool", "execute", "shared", "-p", "sleep 60", "-T", "1", "-o", "json"), code=3)
    assert slow["status"] == "timeout"
    refused = up.run("pool", "execute", "shared", "-p", "curl example")
    assert (refused.returncode, "curl" in refused.stderr) == (3, True)


def test_who_presses_ctrl_c_leaves_no_work_behind(up: Up) -> None:
    command = [MAHAVISHNU, "pool", "execute", "shared", "-p", "sleep 600", "--server", up.url]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (open_jobs := [row for row in answered(up.run("jobs", "list", "-o", "json")) if not row["ended"]]):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, said) == (130, "interrupted: the command is cancelled\n")
    waited = up.run("jobs", "wait", open_jobs[0]["job_id"], "-o", "json")
    assert [row["status"] for row in answered(waited, code=3)] == ["cancelled"]


def test_a_pool_is_chosen_for_a_command(up: Up) -> None:
    row = answered(up.run("pool", "route", "-p", "Execute: echo routed", "--pool", "shared", "-o", "json"))
    assert (row["pool_id"], row["output"], row["success"]) == ("default/shared", "routed\n", True)
    refused = up.run("pool", "route", "-p", "echo", "--selector", "astrology")
    assert (refused.returncode, "least_loaded" in refused.stderr) == (2, True)


def test_what_was_answered_is_found_again(up: Up, tmp_path: Path) -> None:
    up.run("pool", "execute", "shared", "-p", "echo unheard-of")
    found = answered(up.run("pool", "search-memory", "-q", "unheard-of", "-o", "json"))
    assert [row["content"] for row in found] == ["$ echo unheard-of\nunheard-of\n"]
    (tmp_path / "a.py").write_text("import os\n")
    run("pool", "execute", "shared", "-p", "ruff check a.py", cwd=tmp_path, MAHAVISHNU_URL=up.url)
    looked = ["pool", "search-memory", "--tool", "ruff", "--file", "a.py", "-o", "json"]
    known = answered(run(*looked, cwd=tmp_path, MAHAVISHNU_URL=up.url))
    assert known["a.py"]["status"] == "failed"


def test_pools_are_monitored_and_their_health_is_an_exit_code(up: Up) -> None:
    measures = answered(up.run("pool", "monitor", "shared", "-o", "json"))["default/shared"]
    assert (measures["min_workers"], measures["max_workers"]) == (0, 3)
    assert up.run("pool", "monitor").stdout.startswith("POOL ")
    assert up.run("pool", "health", "shared").returncode == 0


def test_a_monitor_that_is_no_terminal_prints_a_line_for_each_change(up: Up) -> None:
    command = [MAHAVISHNU, "pool", "monitor", "--watch", "--server", up.url]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("default/")  # it follows from here on
        assert up.run("pool", "spawn", "--name", "watched", "--max", "1").returncode == 0
        assert up.run("pool", "close", "watched").returncode == 0
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "default/watched closed\n":
                break
        process.kill()
    assert any(line.startswith("default/watched running: 1 of 1 workers ready") for line in lines)


def read_until(terminal: int, words: bytes) -> bytes:
    """What a program has shown on a terminal when these words are on it, or when it has ended."""
    shown, deadline = b"", time.monotonic() + DEADLINE_SECONDS
    while words not in shown:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], shown
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # how Linux says that nobody has the other end open
            break
    return shown


def test_on_a_terminal_the_monitor_follows_and_leaves_it_as_it_was(up: Up) -> None:
    ours, theirs = pty.openpty()
    command = [MAHAVISHNU, "pool", "monitor", "--server", up.url]
    with subprocess.Popen(command, env=environment(NO_COLOR="1", TERM="xterm"), stdout=theirs) as process:
        os.close(theirs)
        shown = read_until(ours, b"default/shared")
        process.send_signal(signal.SIGINT)
        shown += read_until(ours, b"\x1b[?25h")  # the cursor is back
    os.close(ours)
    assert process.returncode == 130
    assert b"\x1b[?25h" in shown
    assert not COLOUR.search(shown)


def test_on_a_terminal_waiting_and_a_scan_are_followed_without_colour_where_none_is_wanted(
    up: Up, tmp_path: Path
) -> None:
    submit(up, tmp_path, "watched", "sleep, '600'")
    (tmp_path / "clean.py").write_text('"""Clean."""\n')
    on_terminal = {
        ("jobs", "wait", "watched", "--server", up.url): (b"1 running", 130),
        ("scan", str(tmp_path), "--tool", "codespell"): (b"starting", 0),
    }
    for command, (words, code) in on_terminal.items():
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [MAHAVISHNU, *command], env=environment(NO_COLOR="1", TERM="xterm"), stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            shown = read_until(ours, words)
            if code:
                process.send_signal(signal.SIGINT)
            shown += read_until(ours, b"never shown")
        os.close(ours)
        assert (process.returncode, words in shown, b"\x1b[?25h" in shown) == (code, True, True), shown
        assert not COLOUR.search(shown)
    up.run("jobs", "cancel", "watched")


def test_who_stops_waiting_leaves_the_job_running(up: Up, tmp_path: Path) -> None:
    submit(up, tmp_path, "slow", "sleep, '600'")
    command = [MAHAVISHNU, "jobs", "wait", "slow", "--server", up.url]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting for job default/slow\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, "interrupted: what was waited for goes on" in said) == (130, True)
    assert not answered(up.run("jobs", "show", "slow", "-o", "json"))["ended"]
    up.run("jobs", "cancel", "slow")


def test_workers_are_spawned_used_and_closed(up: Up) -> None:
    (worker,) = answered(up.run("workers", "spawn", "-t", "command", "-n", "1", "-o", "json"))["worker_ids"]
    rows = answered(up.run("workers", "execute", "--worker", worker, "-p", "echo one", "-p", "echo two", "-o", "json"))
    assert [(row["worker_id"], row["output"]) for row in rows["result"]] == [(worker, "one\n"), (worker, "two\n")]
    assert worker in up.run("workers", "list").stdout
    assert up.run("workers", "close", worker).stdout == "1 closed\n"
    assert answered(up.run("workers", "list", "-o", "json")) == []


def test_workers_for_one_run_each_run_it_and_are_closed_again(up: Up) -> None:
    done = up.run("workers", "execute", "-n", "2", "-p", "false", "-T", "60", "-o", "json")
    rows = answered(done, code=1)["result"]
    assert [row["exit_code"] for row in rows] == [1, 1]
    assert len({row["worker_id"] for row in rows}) == 2
    assert answered(up.run("workers", "list", "-o", "json")) == []


def test_the_gateway_of_up_says_that_it_is_there_and_well(up: Up) -> None:
    said = answered(up.run("mcp", "status", "-o", "json"))
    assert (said["url"], said["service"], said["status"]) == (f"{up.url}/mcp", "mahavishnu", "ok")
    assert up.run("mcp", "health").stdout == "healthy\n"
    assert run("mcp", "health", "--url", "http://127.0.0.1:9/mcp").returncode == 4


def test_doctor_names_what_is_there_and_how_to_get_the_rest(up: Up, tmp_path: Path) -> None:
    done = up.run("doctor", "-o", "json")
    checks = {check["what"]: check for check in answered(done)}
    assert (checks["ruff"]["state"], checks["server"]["state"], checks["server"]["found"]) == ("ok", "ok", up.url)
    without = run("doctor", MAHAVISHNU_URL="http://127.0.0.1:9", KUBECONFIG=str(tmp_path / "none"))
    assert "server: mahavishnu up &" in without.stderr
    assert "there is no kubeconfig" in without.stdout


def test_as_a_plugin_of_kubectl_it_goes_where_kubectl_goes(up: Up) -> None:
    def plugin(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(MAHAVISHNU).with_name("kubectl-mahavishnu")), *arguments],
            env=environment(KUBECONFIG=str(up.data / "kubeconfig")),
            capture_output=True,
            text=True,
            check=False,
        )

    assert "default/shared" in {row["pool_id"] for row in answered(plugin("pool", "list", "-o", "json"))}
    assert "shared" in plugin("get", "wp").stdout
    ran = answered(plugin("pool", "execute", "shared", "-p", "echo plugged", "-o", "json"))
    assert plugin("logs", ran["task_id"].partition("/")[2]).stdout == ran["output"] == "plugged\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["jobs", "show", "nosuch"], 1, "nosuch"),
        (["jobs", "wait", "nosuch"], 3, "nosuch"),
        (["jobs", "show", "../x"], 2, "is not namespace/name"),
        (["pool", "close"], 2, "say which pools"),
        (["pool", "spawn", "--type", "moon"], 2, "is not known"),
        (["pool", "spawn", "--name", "UPPER"], 2, "can be no name"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(up: Up, arguments: list[str], code: int, words: str) -> None:
    done = up.run(*arguments)
    assert (done.returncode, words in done.stderr, done.stdout) == (code, True, ""), done.stderr


def test_without_a_server_the_exit_code_says_so() -> None:
    done = run("pool", "list", "--server", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (4, "")
