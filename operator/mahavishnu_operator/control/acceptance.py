"""Whether this installation can act on an object at all, before anything is done for it.

The pressure: an object can reach us unvalidated (an older CRD, a store edited by hand, a field of a newer version),
and a creator of objects must not be able to run code where the operator does not allow it. What must stay true: what
is not acted on is refused with the field's name; refusing is decided here alone, for both kinds, in the same words.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from mahavishnu_operator.api.base import MAX_OBJECT_BYTES
from mahavishnu_operator.api.implemented import unsupported_fields
from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.scanjob import ScanJobSpec, Source, Task
from mahavishnu_operator.api.workerpool import Backend, Isolation, WorkerPoolSpec
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.scan.git_fetching import SourceFailed, transport_of

DEFAULT_COMMANDS = ("echo", "false", "sleep", "true")
NOOP = "builtin:noop"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is not acted on. `final` False: it waits, because the reason may go away by itself."""

    reason: Reason
    message: str
    final: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """What the installation allows. `path_roots` None: any folder (a single user's own machine)."""

    local_process: bool = False
    path_roots: tuple[Path, ...] | None = ()
    known_tools: tuple[str, ...] = ()
    kubernetes: bool = False


def parse_pool(spec: dict[str, Any], policy: Policy) -> tuple[WorkerPoolSpec | None, Refusal | None]:
    """The spec of a WorkerPool and the reason to refuse it, if there is one."""
    unsupported = unsupported_fields("WorkerPool", spec)
    if unsupported:
        return None, _not_implemented(unsupported)
    try:
        parsed = WorkerPoolSpec.model_validate(spec)
    except ValidationError as error:
        return None, _invalid(error)
    if parsed.min_workers > parsed.max_workers:
        return None, Refusal(
            Reason.INVALID,
            f"spec.minWorkers is {parsed.min_workers} and greater than spec.maxWorkers, {parsed.max_workers}",
        )
    if parsed.isolation is Isolation.PER_TASK and parsed.backend is not Backend.KUBERNETES:
        return parsed, Refusal(
            Reason.INVALID,
            "spec.isolation PerTask gives each task a Pod of its own, which only backend kubernetes can; "
            f"backend {parsed.backend.value} has isolation Shared",
        )
    if parsed.backend is Backend.LOCAL_PROCESS and not policy.local_process:
        return parsed, Refusal(
            Reason.BACKEND_DISABLED,
            "backend local-process runs workers beside the operator and is switched off here; "
            "start the operator with --enable-local-process --path-root DIR to allow it",
        )
    if parsed.backend is Backend.KUBERNETES and not policy.kubernetes:
        return parsed, Refusal(
            Reason.BACKEND_DISABLED,
            "backend kubernetes makes Pods and is switched off here; it takes an operator on a cluster, started "
            "with --worker-image and --dispatcher-url; without a cluster use backend local-process",
        )
    return parsed, None


def parse_job(spec: dict[str, Any], policy: Policy) -> tuple[ScanJobSpec | None, Refusal | None]:
    """The spec of a ScanJob and the reason to refuse it for itself, whatever its pool says."""
    size = len(msgspec.json.encode(spec))
    if size > MAX_OBJECT_BYTES:
        return None, Refusal(Reason.INVALID, f"spec is {size} bytes of JSON; at most {MAX_OBJECT_BYTES}: split the job")
    unsupported = unsupported_fields("ScanJob", spec)
    if unsupported:
        return None, _not_implemented(unsupported)
    try:
        parsed = ScanJobSpec.model_validate(spec)
    except ValidationError as error:
        return None, _invalid(error)
    if (parsed.pool_ref is None) == (parsed.routing is None):
        return None, Refusal(Reason.INVALID, "exactly one of spec.poolRef and spec.routing must be set")
    if (parsed.scan is None) == (parsed.tasks is None):
        return None, Refusal(Reason.INVALID, "exactly one of spec.scan and spec.tasks must be set")
    if parsed.scan is not None:
        if parsed.source is None:
            return None, Refusal(Reason.INVALID, "spec.source is missing: a scan needs files to look at")
        unknown = sorted(set(parsed.scan.tools) - set(policy.known_tools))
        if unknown:
            return None, Refusal(
                Reason.INVALID,
                f"spec.scan.tools names {', '.join(unknown)}, which nobody here knows; "
                f"known are {', '.join(sorted(policy.known_tools))}",
            )
        brought = refuse_source(parsed.source, policy)
        if brought is not None:
            return None, brought
    elif parsed.source is not None and parsed.source.path is None:
        return None, Refusal(Reason.INVALID, "spec.tasks run in spec.source.path alone: another source is for a scan")
    elif len({task.id for task in parsed.tasks or ()}) != len(parsed.tasks or ()):
        return None, Refusal(Reason.INVALID, "spec.tasks uses an id more than once: ids name results")
    return parsed, None


def refuse_source(source: Source, policy: Policy) -> Refusal | None:
    """Why the files of a private repository or a volume can never be brought here."""
    git, claim = source.git, source.persistent_volume_claim
    private = git is not None and (git.credentials_secret_ref is not None or not git.url.startswith("https://"))
    if git is not None and private:
        try:
            transport = transport_of(git.url)
        except SourceFailed as error:
            return Refusal(Reason.INVALID, str(error))
        if transport == "ssh" and git.credentials_secret_ref is None:
            words = "spec.source.git.url is fetched by ssh, which needs spec.source.git.credentialsSecretRef: a Secret "
            return Refusal(Reason.INVALID, words + "with the keys ssh-privatekey and known_hosts")
    if claim is not None and ".." in claim.sub_path.split("/"):
        return Refusal(Reason.INVALID, "spec.source.persistentVolumeClaim.subPath leads out of the volume")
    if (private or claim is not None) and not policy.kubernetes:
        return Refusal(
            Reason.BACKEND_DISABLED,
            "a Job in the ScanJob's namespace fetches private files and those of volumes, and this installation makes "
            "no Pods; it takes an operator on a cluster, started with --worker-image and --dispatcher-url",
        )
    return None


def named_pool(job: Key, spec: ScanJobSpec) -> Key | None:
    """Which WorkerPool a job names, its own namespace unless it says another; None: it is to be routed."""
    if spec.pool_ref is None:
        return None
    return Key(spec.pool_ref.namespace or job.namespace, spec.pool_ref.name)


def refuse_by_pool(
    job: Key, spec: ScanJobSpec, pool: Key, found: dict[str, Any] | None, policy: Policy
) -> Refusal | None:
    """Why the job cannot be given to its pool, now or ever. `found` is the WorkerPool's spec as stored."""
    if found is None:
        return Refusal(Reason.POOL_NOT_FOUND, f"WorkerPool {pool} does not exist; the job waits for it", final=False)
    parsed, refusal = parse_pool(found, policy)
    if refusal is not None and refusal.reason is Reason.BACKEND_DISABLED:
        return Refusal(refusal.reason, f"WorkerPool {pool}: {refusal.message}")
    if parsed is None or refusal is not None:
        why = refusal.message if refusal else "it was refused"
        return Refusal(Reason.POOL_NOT_ACCEPTED, f"WorkerPool {pool} was refused itself: {why}", final=False)
    if job.namespace != pool.namespace and job.namespace not in parsed.allowed_namespaces:
        return Refusal(
            Reason.NAMESPACE_NOT_ALLOWED,
            f"WorkerPool {pool} serves its own namespace and {list(parsed.allowed_namespaces)}, not {job.namespace}; "
            "its owner can add it to spec.allowedNamespaces",
        )
    if spec.source is not None and spec.source.path is not None and parsed.backend is not Backend.LOCAL_PROCESS:
        return Refusal(
            Reason.PATH_NOT_ALLOWED,
            f"spec.source.path is a folder beside the operator, and workers of WorkerPool {pool} (backend "
            f"{parsed.backend.value}) cannot see it; give the job to a pool of backend local-process",
        )
    return refuse_commands(spec.tasks or (), allowed_commands(parsed, policy), pool)


def allowed_commands(pool: WorkerPoolSpec, policy: Policy) -> tuple[str, ...]:
    """The names argv[0] may have in this pool; `any` among them allows all."""
    return tuple(pool.allowed_commands) or (*DEFAULT_COMMANDS, *sorted(policy.known_tools))


def refuse_commands(tasks: Sequence[Task], allowed: Sequence[str], pool: Key) -> Refusal | None:
    """The first commands that the pool does not allow, named."""
    bad = disallowed(tasks, allowed)
    if not bad:
        return None
    return Refusal(
        Reason.COMMAND_NOT_ALLOWED,
        f"WorkerPool {pool} does not allow {', '.join(repr(name) for name in bad[:5])}; it allows "
        f"{', '.join(allowed)}; its owner can add a name to spec.allowedCommands",
    )


def disallowed(tasks: Sequence[Task], allowed: Sequence[str]) -> list[str]:
    """The names of commands that are not among the allowed ones."""
    return sorted({task.command[0] for task in tasks if task.command and not _may_run(task.command, allowed)})


def _may_run(argv: Sequence[str], allowed: Sequence[str]) -> bool:
    if argv[0] == NOOP:
        return len(argv) == 1
    if argv[0].startswith("builtin:"):
        return False
    return "any" in allowed or ("/" not in argv[0] and argv[0] in allowed)


def resolve_path(path: str, policy: Policy) -> tuple[str, Refusal | None]:
    """The folder with every link followed, and the refusal when that lies outside the allowed roots.

    Reads the file system. A part that does not exist yet is kept as it is: the worker then says that it is not there.
    """
    try:
        real = os.path.realpath(path)
    except ValueError as error:  # a NUL, or what no file system can encode
        return "", Refusal(Reason.INVALID, f"spec.source.path {path!r} cannot be a path: {error}")
    if policy.path_roots is None:
        return real, None
    for root in policy.path_roots:
        allowed = os.path.realpath(root)
        if real == allowed or real.startswith(allowed.rstrip("/") + "/"):
            return real, None
    roots = ", ".join(str(root) for root in policy.path_roots) or "none"
    return real, Refusal(
        Reason.PATH_NOT_ALLOWED,
        f"spec.source.path {path} leads to {real}, outside the folders that may be read here ({roots}); "
        "start the operator with --path-root for that folder, or move the sources",
    )


def _not_implemented(fields: Sequence[str]) -> Refusal:
    return Refusal(
        Reason.NOT_IMPLEMENTED, f"this version does not act on {', '.join(fields)}; leave it out or use a newer version"
    )


def _invalid(error: ValidationError) -> Refusal:
    problems = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
    return Refusal(Reason.INVALID, f"the spec breaks the rules of its kind: {problems}")
