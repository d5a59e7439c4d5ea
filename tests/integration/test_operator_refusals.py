"""What the operator refuses: on its command line, and of what others may ask of it."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest

from tests.cluster.client import Cluster, write_kubeconfig

from .cli_tools import run
from .operator_tools import OperatorProcess, Site, account, condition, message, poll


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--enable-local-process"], "--enable-local-process needs --path-root"),
        (["--path-root", "."], "--path-root does nothing without --enable-local-process"),
        (["--enable-local-process", "--path-root", "/nowhere/at/all"], "/nowhere/at/all is not a folder"),
        (["--namespace", "a*"], "'a*' is no name of a namespace"),
        (["--kubeconfig", "/nowhere/config"], "there is no kubeconfig: /nowhere/config"),
    ],
)
def test_a_wrong_command_line_ends_in_words_and_with_2(arguments: list[str], words: str) -> None:
    done = run("operator", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dispatcher_in_clear_on_a_network_is_refused(deployed: Cluster, tmp_path: Path) -> None:
    kubeconfig = ("--kubeconfig", account(deployed).kubeconfig)
    done = run("operator", *kubeconfig, "--data", tmp_path, "--dispatch-host", "0.0.0.0")
    assert (done.returncode, "worker tokens would travel in clear" in done.stderr) == (2, True)


async def test_local_workers_are_refused_unless_they_were_enabled(
    deployed: Cluster, site: Site, tmp_path: Path
) -> None:
    with OperatorProcess(account(deployed), tmp_path, root=None):
        await site.pool()
        await site.commands("job", ["true"])
        status = await site.ended("job")
        assert condition(status, "Accepted") == ("False", "BackendDisabled")
        assert "--enable-local-process --path-root DIR" in message(status, "Accepted")
        await site.until_event(await site.job("job"), "Warning", "Refused")


async def test_beyond_loopback_health_and_metrics_are_served_and_no_results(
    deployed: Cluster, site: Site, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "clean.py").write_text('"""Nothing."""\n')
    open_to_all = ("--probe-host", "0.0.0.0")
    with OperatorProcess(account(deployed), tmp_path, root=source, more=open_to_all) as operator:
        await site.pool()
        await site.scan("job", source, "ruff")
        status = await site.ended("job")
        assert operator.get("/healthz") == operator.get("/livez") == b'{"status":"ok"}'
        assert b"mahavishnu_dispatch_tasks_ended_total{" in operator.get("/metrics")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            operator.get(status["report"]["uri"])


async def test_beyond_loopback_nobody_is_told_what_is_wrong(tmp_path: Path) -> None:
    connection = {"server": "https://secret-name.invalid:6443"}
    nowhere = write_kubeconfig(tmp_path / "kubeconfig", connection=connection, user={"token": "t"})
    account = Cluster(nowhere, Path("kubectl"), tmp_path)
    operator = OperatorProcess(account, tmp_path, root=None, more=("--probe-host", "0.0.0.0"))
    operator.process.start()
    try:
        await poll(lambda: "secret-name.invalid" in operator.process.log.read_text())
        with pytest.raises(urllib.error.HTTPError) as refused:
            operator.get("/healthz")
        assert refused.value.read() == b"not well: the log says why"
    finally:
        operator.close()
