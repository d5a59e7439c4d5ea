"""report: the report of a ScanJob that has ended, from wherever it ran, for whoever may write that ScanJob."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mahavishnu_operator.support.errors import Conflict

from .exits import ExitCode, looking
from .output import OutputFormat
from .placing import OutputOption
from .server import ContextOption, DispatcherCaOption, DispatcherUrlOption, KubeconfigOption, ServerOption

if TYPE_CHECKING:
    from mahavishnu_operator.client.door import Way

TRIES = 3  # another reader may write a key of their own between our two calls


def report(
    name: Annotated[str, typer.Argument(help="Name of the ScanJob.")],
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Its namespace.")] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write the report as SARIF 2.1.0.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    server: ServerOption = None,
    dispatcher_url: DispatcherUrlOption = None,
    dispatcher_ca: DispatcherCaOption = None,
) -> None:
    """Show the report of a ScanJob that has ended, with the exit codes of `scan`.

    It quotes source code, so reading it takes the right to write the ScanJob: its annotation is given the digest of a
    key, which the dispatcher is shown.
    """
    from mahavishnu_operator.client.door import Way

    from .server import find_server

    connection, embedded = find_server(server, kubeconfig=kubeconfig, context=context)
    way = Way(connection, embedded, dispatcher_url, dispatcher_ca)
    space = namespace or connection.namespace or "default"
    with looking():
        sys.exit(
            asyncio.run(show_report(way, space, name, sarif=sarif, form=OutputFormat.JSON if json_ else output))
            or ExitCode.OK
        )


async def show_report(way: Way, namespace: str, name: str, *, sarif: Path | None, form: OutputFormat) -> ExitCode:
    """Print the report of a job that has ended; the exit code of its scan. Conflict: it has not."""
    from mahavishnu_operator.api.reasons import JobPhase
    from mahavishnu_operator.client.door import Key256
    from mahavishnu_operator.client.jobs import Job
    from mahavishnu_operator.resources.kubernetes import KubernetesResources
    from mahavishnu_operator.resources.protocol import SCAN_JOB, Forbidden, Key

    from .outcome import Shown, show_outcome

    key, resources = Key(namespace, name), KubernetesResources(way.connection)
    try:
        for tried in range(1, TRIES + 1):
            secret = Key256()
            job = await resources.merge(SCAN_JOB, key, {"metadata": {"annotations": secret.annotation}})
            status = job.get("status") or {}
            if not JobPhase(status.get("phase") or JobPhase.PENDING).terminal:
                raise Conflict(
                    f"ScanJob {key} has not ended", hint="wait for it: kubectl wait --for=condition=Complete"
                )
            if not status.get("report"):
                return show_outcome(status, None, form=form, sarif=sarif, interrupt=None, seconds=0.0)
            door = way.open(status=status, key=secret)
            try:
                answers = await door.answers(key)
                log = await door.sarif(key) if form is not OutputFormat.TABLE or sarif is not None else b""
                break
            except Forbidden as error:
                if tried == TRIES or "opened by this key" not in error.message:
                    raise
            finally:
                await door.close()
    finally:
        await resources.close()
    left_out = answers.plan.skipped if answers.plan is not None else ()
    shown = Shown(answers.reports, log, left_out)
    return show_outcome(status, shown, form=form, sarif=sarif, interrupt=None, seconds=Job.of(job).seconds)
