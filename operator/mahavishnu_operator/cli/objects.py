"""apply, get, describe, delete: the same verbs as kubectl, on any server that speaks its conventions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from mahavishnu_operator.resources.protocol import KINDS, Key, Kind, Obj
from mahavishnu_operator.support.errors import InvalidInput, NotFound

from .describing import describe_object
from .manifests import find_kind, read_manifests, refuse_doubles
from .output import OutputFormat, dump, object_table, say, show
from .placing import OutputOption
from .server import NamespaceOption, ServerOption, connect

FIELD_MANAGER = "mahavishnu-cli"

FilesOption = Annotated[list[str], typer.Option("--filename", "-f", help="File, folder, or - for standard input.")]
KindArgument = Annotated[str, typer.Argument(metavar="KIND", help="workerpools (wp) or scanjobs (sj).")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


def apply(
    filename: FilesOption,
    namespace: NamespaceOption = "default",
    server: ServerOption = None,
    force: Annotated[bool, typer.Option("--force", help="Take fields that another manager owns.")] = False,
    output: OutputOption = OutputFormat.TABLE,
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
            applied = []
            for manifest in manifests:
                stored = await resources.apply(manifest.kind, manifest.obj, field_manager=FIELD_MANAGER, force=force)
                applied.append(stored)
                if output is OutputFormat.TABLE:
                    print(f"{manifest.kind.singular}/{stored['metadata']['name']} applied")
        if output is not OutputFormat.TABLE:
            print(dump(_as_list(applied), output))

    asyncio.run(run())


def _as_list(objects: Sequence[Obj]) -> Obj:
    """Objects as kubectl prints several."""
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


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
        print(dump(objects[0] if name is not None else _as_list(objects), output))
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
    kind: KindArgument,
    name: NameArgument,
    namespace: NamespaceOption = "default",
    output: OutputOption = OutputFormat.TABLE,
    server: ServerOption = None,
) -> None:
    """Show one object with its conditions and events, for reading."""
    which = find_kind(kind)

    async def run() -> None:
        async with connect(server) as resources:
            obj = await resources.get(which, Key(namespace, name))
            events = list(await resources.events(obj))
            show({"object": obj, "events": events}, output, describe_object(obj, events))

    asyncio.run(run())


def delete(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]")] = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
    filename: Annotated[
        list[str] | None, typer.Option("--filename", "-f", help="Delete what these manifests name.")
    ] = None,
    namespace: NamespaceOption = "default",
    output: OutputOption = OutputFormat.TABLE,
    server: ServerOption = None,
) -> None:
    """Delete objects by kind and name, or those that manifests name."""
    if bool(filename) == bool(kind and names):
        raise InvalidInput("say which objects", hint="either KIND NAME..., or -f FILE")
    targets = [(m.kind, Key.of(m.obj)) for f in filename or [] for m in read_manifests(f, namespace=namespace)]
    if kind:
        targets += [(find_kind(kind), Key(namespace, name)) for name in names or []]

    async def run() -> list[NotFound]:
        missing, deleted = [], []
        async with connect(server) as resources:
            for which, key in targets:
                try:
                    await resources.delete(which, key)
                except NotFound as error:  # what was named after it is deleted all the same
                    missing.append(error)
                    continue
                deleted.append({"kind": which.kind, "namespace": key.namespace, "name": key.name})
                if output is OutputFormat.TABLE:
                    print(f"{which.singular}/{key.name} deleted")
        if output is not OutputFormat.TABLE:
            print(dump({"deleted": deleted}, output))
        return missing

    if missing := asyncio.run(run()):
        raise NotFound("; ".join(error.message for error in missing))
