"""store: move a store to PostgreSQL, and copy one that is in use. docs/store.md has both as typed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from .extras import require
from .output import OutputFormat, dump, say

OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="How to print what was copied.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The data folder.  [env: MAHAVISHNU_DATA_DIR]", show_default=False),
]

app = typer.Typer(no_args_is_help=True, help="Move or copy what is stored: tasks, results, reports.")


@app.command()
def migrate(
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="Empty PostgreSQL database: postgresql://USER@HOST:PORT/NAME.")
    ],
    data: DataOption = None,
    blob_dir: Annotated[
        Path | None, typer.Option("--blob-dir", metavar="DIR", help="Keep blobs as files there, not in the database.")
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Copy a SQLite store into an empty PostgreSQL database, in one transaction. Stop its operator first."""
    require("operator", what="`mahavishnu store migrate`")
    from mahavishnu_operator.store.copying import migrate_to_postgres

    from .settings import load_settings

    folder = data or load_settings().data_dir
    copied = asyncio.run(migrate_to_postgres(folder, to, blob_folder=blob_dir))
    if output is not OutputFormat.TABLE:
        print(dump({"copied": dict(copied)}, output))
    say("copied " + ", ".join(f"{number} {table}" for table, number in copied.items() if number))
    say(f"start the operator with this database from now on (MAHAVISHNU_STORE_URL); {folder} was not changed")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that does not exist yet.")],
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Copy a data folder, also while it is in use. To restore: start with --data TARGET, or move it into place."""
    from mahavishnu_operator.store.copying import back_up

    from .settings import load_settings

    copied = back_up(data or load_settings().data_dir, target)
    if output is not OutputFormat.TABLE:
        print(dump({"copied": dict(copied)}, output))
    say(f"{target}: " + ", ".join(f"{name} {number}" for name, number in copied.items()))
