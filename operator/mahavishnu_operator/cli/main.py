"""The command `mahavishnu` (and `kubectl mahavishnu`): the commands, and how errors end them.

The pressure: `--help` and shell completion must answer at once, while a scan needs half the program; so
command modules declare their options with light imports and fetch the heavy ones when they run (a test
holds that). What must stay true: an error that we raised on purpose is one or two lines on stderr and an
exit code of `exits.ExitCode`; anything else keeps its traceback.
"""

from __future__ import annotations

import io
import sys

import typer

from mahavishnu_operator import __version__
from mahavishnu_operator.support.errors import MahavishnuError

from . import (
    doctor,
    executing,
    jobs,
    logs,
    mcp,
    monitoring,
    objects,
    operator,
    pools,
    probing,
    remembered,
    report,
    scan,
    store,
    up,
    worker,
    workers,
)
from .exits import end_with

app = typer.Typer(
    name="mahavishnu",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mahavishnu {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Worker pools for code scanners: one manifest, with or without a cluster."""


for command in (
    scan.scan,
    up.up,
    objects.apply,
    objects.get,
    objects.describe,
    objects.delete,
    logs.logs,
    report.report,
    doctor.doctor,
    operator.operator,
    worker.worker,
):
    app.command()(command)
for program in (worker.source_fetch, worker.source_upload):  # nothing for people
    app.command(hidden=True)(program)
for family in (executing, monitoring, remembered):
    family.register(pools.app)
app.add_typer(pools.app, name="pool")
app.add_typer(workers.app, name="workers")
app.add_typer(jobs.app, name="jobs")
app.add_typer(store.app, name="store")
for probe in (probing.status, probing.health):
    mcp.app.command()(probe)
app.add_typer(mcp.app, name="mcp")


def run() -> None:
    """Read the command line, do what it says, and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files can hold what a terminal of ASCII cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except MahavishnuError as error:
        sys.exit(end_with(error))
