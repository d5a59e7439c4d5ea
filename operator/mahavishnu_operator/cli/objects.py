"""apply, get, describe, delete: the same verbs as kubectl, on any server that speaks its conventions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from mahavishnu_operator.resources.protocol import KINDS, Key, Kind, Obj
from mahavishnu_operator.support.errors import InvalidInput, NotFound

from .describing import describe_object
from .manifests import find_kind, read_manifests, refuse_doubles
from .output import OutputFormat, dump, object_table, say
from .server import NamespaceOption, ServerOption, connect

FIELD_MANAGER = "mahavishnu-cli"

FilesOption = Annotated[list[str], typer.Option("--filename", "-f", help="File, folder, or - for standard input.")]
KindArgument = Annotated[str, typer.Argument(metavar="KIND", help="workerpools (wp) or scanjobs (sj).")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="How to print it.")]


def apply(
    filename: FilesOption,
    namespace: NamespaceOption = "default",
    server: ServerOption = None,
    force: Annotated[bool, typer.Option("--force", help="Take fields that another manager owns.")] = False,
) -> None:
    """Create or update objects from manifests (server-side apply)."""
    manifests = [m for source in filename for m in read_manifests(source, namespace=namespace)]
    refuse_doubles(manifests)
    manifests.sort(key=lambda manifest: KINDS.index(manifest.kind))  # a pool before the jobs that would wait for it

    async def run() -> None:
        async with connect(server) as resources:
            for manifest in manifests:
                await resources.apply(
                    manifest.kind, manifest.obj, field_manager=FIELD_MANAGER, force=force, dry_run=True
                )
            for manifest in manifests:
                stored = await resources.apply(manifest.kind, manifest.obj, field_manager=FIELD_MANAGER, force=force)
                print(f"{manifest.kind.singular}/{stored['metadata']['name']} applied")

    asyncio.run(run())


def get(
    kind: KindArgument,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
    namespace: NamespaceOption = "default",
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="From all namespaces.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    server: ServerOption = None,
) -> None:
    """List objects of a kind, or show one."""
    if name is not None and all_namespaces:
        raise InvalidInput("a name and --all-namespaces do not go together", hint="name the namespace with -n")
    which = find_kind(kind)
    objects = asyncio.run(_fetch(which, name, None if all_namespaces else namespace, namespace, server))
    if output is not OutputFormat.TABLE:
        one = {"apiVersion": "v1", "kind": "List", "items": objects}
        print(dump(objects[0] if name is not None else one, output))
    elif objects:
        print(object_table(which, objects, all_namespaces=all_namespaces))
    else:
        say(f"no {which.plural} in {'any namespace' if all_namespaces else f'namespace {namespace}'}")


async def _fetch(kind: Kind, name: str | None, scope: str | None, namespace: str, server: str | None) -> list[Obj]:
    async with connect(server) as resources:
        if name is not None:
            return [await resources.get(kind, Key(namespace, name))]
        return list((await resources.list(kind, namespace=scope)).items)


def describe(
    kind: KindArgument, name: NameArgument, namespace: NamespaceOption = "default", server: ServerOption = None
) -> None:
    """Show one object with its conditions and events, for reading."""
    which = find_kind(kind)

    async def run() -> None:
        async with connect(server) as resources:
            obj = await resources.get(which, Key(namespace, name))
            print(describe_object(obj, await resources.events(obj)))

    asyncio.run(run())


def delete(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]")] = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
    filename: Annotated[
        list[str] | None, typer.Option("--filename", "-f", help="Delete what these manifests name.")
    ] = None,
    namespace: NamespaceOption = "default",
    server: ServerOption = None,
) -> None:
    """Delete objects by kind and name, or those that manifests name."""
    if bool(filename) == bool(kind and names):
        raise InvalidInput("say which objects", hint="either KIND NAME..., or -f FILE")
    targets = [(m.kind, Key.of(m.obj)) for f in filename or [] for m in read_manifests(f, namespace=namespace)]
    if kind:
        targets += [(find_kind(kind), Key(namespace, name)) for name in names or []]

    async def run() -> list[NotFound]:
        missing = []
        async with connect(server) as resources:
            for which, key in targets:
                try:
                    await resources.delete(which, key)
                except NotFound as error:  # what was named after it is deleted all the same
                    missing.append(error)
                else:
                    print(f"{which.singular}/{key.name} deleted")
        return missing

    if missing := asyncio.run(run()):
        raise NotFound("; ".join(error.message for error in missing))
