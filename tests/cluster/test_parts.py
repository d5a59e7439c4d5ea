"""What the test cluster is made of, without starting one: ports, processes, the build's cache and its refusals."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .build import TOOLS, BuildError, cache_key, ensure, linker_flags
from .controlplane import ControlPlane
from .fixtures import choose_provider
from .ports import PortReservation
from .process import ClusterError, Program, ServerProcess


def test_two_reservations_never_hold_the_same_port() -> None:
    reservations = [PortReservation(200), PortReservation(200)]
    try:
        assert len({port for reservation in reservations for port in reservation.ports}) == 400
    finally:
        for reservation in reservations:
            reservation.release()


def test_a_process_that_dies_is_reported_at_once_with_its_log(tmp_path: Path) -> None:
    process = ServerProcess(python("print('address already in use'); raise SystemExit(3)"), tmp_path / "log")
    process.start()
    with pytest.raises(ClusterError, match=r"(?s)server ended with 3.*address already in use"):
        process.wait_ready(timeout=60)


def test_a_process_that_is_never_ready_is_reported_with_the_reason(tmp_path: Path) -> None:
    process = ServerProcess(python("import time; time.sleep(60)", check_ready=lambda: "no answer"), tmp_path / "log")
    process.start()
    try:
        with pytest.raises(ClusterError, match="server not ready after 0 s: no answer"):
            process.wait_ready(timeout=0)
    finally:
        process.kill()


def test_a_process_that_ignores_sigterm_is_reported_and_can_be_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    process = ServerProcess(python(deaf, check_ready=lambda: None if "deaf" in log.read_text() else "starting"), log)
    process.start()
    try:
        process.wait_ready()
        with pytest.raises(ClusterError, match=r"still runs 0\.2 s after SIGTERM"):
            process.stop(timeout=0.2)
        assert process.running
    finally:
        process.kill()
    assert not process.running


def test_a_process_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    log, thread_ended = tmp_path / "log", tmp_path / "thread-ended"
    code = f"""
import pathlib, time
print("up", flush=True)
while not pathlib.Path({str(thread_ended)!r}).exists():
    time.sleep(0.01)
print("still up", flush=True)
time.sleep(60)
"""
    awaited = ["up"]
    process = ServerProcess(python(code, check_ready=lambda: None if awaited[-1] in log.read_text() else "no"), log)

    def start() -> None:
        process.start()
        process.wait_ready()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    awaited.append("still up")
    thread_ended.touch()
    try:
        process.wait_ready()
    finally:
        process.kill()


def test_a_control_plane_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not empty"):
        ControlPlane(tmp_path, binaries={})


@pytest.mark.parametrize(
    "changed",
    [
        {"go_mod": "x"},
        {"go_sum": "x"},
        {"go": "go1.27 linux amd64"},
        {"flags": ("-trimpath-s",)},
        {"module": "etcd"},
        {"sources": ("x",)},
    ],
)
def test_every_input_of_the_build_changes_the_cache_key(changed: dict[str, Any]) -> None:
    inputs: dict[str, Any] = {
        "module": "kubernetes",
        "go_mod": "a",
        "go_sum": "b",
        "go": "go1.26.8 linux amd64",
        "flags": ("-trimpath", "-s"),
    }
    assert cache_key(**inputs | changed) != cache_key(**inputs)


def test_the_binaries_are_stamped_with_the_version_that_go_mod_requires() -> None:
    flags = linker_flags("require (\n\tk8s.io/api v0.35.4\n\tk8s.io/kubernetes v1.35.4 // indirect\n)")
    assert "version.gitVersion=v1.35.4 " in flags
    assert flags.endswith("version.gitMinor=35")


def test_a_binary_is_found_under_the_name_that_go_gives_it() -> None:
    assert TOOLS["etcd"].go_output == "server"
    assert TOOLS["kubectl"].go_output == "kubectl"


def test_an_old_go_is_refused_by_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.24.3 linux amd64\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"is go1\.24\.3, too old .*: install Go 1\.25 or newer"):
        ensure(["etcd"])


def test_a_missing_go_is_refused_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"no `go` on PATH: install Go 1\.25 or newer"):
        ensure(["etcd"])


@pytest.mark.parametrize(
    ("setting", "docker", "provider"),
    [("", True, "kind"), ("", False, "built"), ("built", True, "built"), ("kind", True, "kind")],
)
def test_kind_is_used_where_docker_answers_unless_told_otherwise(setting: str, docker: bool, provider: str) -> None:
    assert choose_provider({"MAHAVISHNU_TEST_CLUSTER": setting}, lambda: docker) == provider


def test_an_existing_cluster_goes_before_everything(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    environ = {"KUBECONFIG_TEST": str(kubeconfig), "MAHAVISHNU_TEST_CLUSTER": "kind"}
    assert choose_provider(environ, lambda: True) == "existing"


@pytest.mark.parametrize(
    "environ",
    [{"KUBECONFIG_TEST": "/nowhere"}, {"MAHAVISHNU_TEST_CLUSTER": "k3s"}, {"MAHAVISHNU_TEST_CLUSTER": "kind"}],
)
def test_a_setting_that_cannot_be_meant_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(pytest.UsageError, match=next(iter(environ.values()))):
        choose_provider(environ, lambda: False)


def python(code: str, *, check_ready: Callable[[], str | None] = lambda: "never") -> Program:
    return Program("server", (sys.executable, "-c", code), check_ready)
