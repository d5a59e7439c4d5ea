"""The part of metadata that users write, checked, and the part that only the server writes.

Labels are selected by, printed and copied into other systems, so a label that the API server would refuse
is refused here with the same rule. What must stay true: uid, resourceVersion, generation and the
timestamps never come from a request.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.errors import InvalidInput

USER_FIELDS = ("name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers")
SERVER_FIELDS = ("uid", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
MAX_ANNOTATION_BYTES = 256 * 1024
MAX_OWNERS = 64
MAX_FINALIZERS = 64

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: a random name spells no word
_LABEL_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def timestamp(now: datetime | None = None) -> str:
    """RFC 3339 in UTC, whole seconds: 2026-01-31T12:00:00Z."""
    return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    """The prefix, cut so that five random characters fit within 63."""
    return prefix[:58] + "".join(secrets.choice(_ALPHABET) for _ in range(5))


def is_namespace(name: str) -> bool:
    """Whether a namespace of that name can exist."""
    return _NAMESPACE.fullmatch(name) is not None


def user_metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What users write of this metadata, without empty members. InvalidInput names every member that is wrong."""
    kept = {name: meta[name] for name in USER_FIELDS if meta.get(name)}
    problems = [*_label_problems(kept), *_annotation_problems(kept), *_owner_problems(kept), *_finalizer_problems(kept)]
    if problems:
        raise InvalidInput("; ".join(problems), hint="correct the metadata")
    return kept


def with_server_fields(obj: Obj, user: Mapping[str, Any], stored: Mapping[str, Any]) -> Obj:
    """The object with metadata of these two parts; `stored` is the metadata of the object as it is kept."""
    server = {name: stored[name] for name in SERVER_FIELDS if name in stored}
    identity = {name: stored[name] for name in ("name", "namespace", "generateName") if name in stored}
    return {**obj, "metadata": {**user, **identity, **server}}


def _label_problems(meta: Mapping[str, Any]) -> list[str]:
    labels = meta.get("labels", {})
    if not isinstance(labels, dict):
        return ["metadata.labels is no map"]
    problems = [p for key in labels if (p := _key_problem("labels", key))]
    for key, value in labels.items():
        if not isinstance(value, str):
            problems.append(f"metadata.labels[{key}]: {value!r} is no string")
        elif value and not _LABEL_PART.fullmatch(value):
            problems.append(
                f"metadata.labels[{key}]: {value[:80]!r} is no label value (at most 63 letters, digits, '-', '_', '.')"
            )
    return problems


def _annotation_problems(meta: Mapping[str, Any]) -> list[str]:
    annotations = meta.get("annotations", {})
    if not isinstance(annotations, dict):
        return ["metadata.annotations is no map"]
    problems = [p for key in annotations if (p := _key_problem("annotations", key.lower()))]
    problems += [f"metadata.annotations[{k}]: {v!r} is no string" for k, v in annotations.items() if type(v) is not str]
    size = sum(len(k) + len(v.encode("utf-8", "replace")) for k, v in annotations.items() if isinstance(v, str))
    if size > MAX_ANNOTATION_BYTES:
        problems.append(f"metadata.annotations have {size} bytes; at most {MAX_ANNOTATION_BYTES}")
    return problems


def _key_problem(where: str, key: str) -> str | None:
    prefix, slash, name = key.rpartition("/")
    if _LABEL_PART.fullmatch(name) and (not slash or (len(prefix) <= 253 and _DOMAIN.fullmatch(prefix))):
        return None
    return f"metadata.{where}: {key[:80]!r} is no key (a name of at most 63 characters, maybe after a domain and '/')"


def _owner_problems(meta: Mapping[str, Any]) -> list[str]:
    references = meta.get("ownerReferences", [])
    if not isinstance(references, list) or len(references) > MAX_OWNERS:
        return [f"metadata.ownerReferences is no list of at most {MAX_OWNERS}"]
    problems = []
    for number, ref in enumerate(references):
        wanted = ("apiVersion", "kind", "name", "uid")
        if not isinstance(ref, dict) or not all(isinstance(ref.get(m), str) and ref[m] for m in wanted):
            problems.append(f"metadata.ownerReferences[{number}]: needs {', '.join(wanted)}")
    if not problems and sum(ref.get("controller") is True for ref in references) > 1:
        problems.append("metadata.ownerReferences: only one can be the controller")
    return problems


def _finalizer_problems(meta: Mapping[str, Any]) -> list[str]:
    names = meta.get("finalizers", [])
    if not isinstance(names, list) or len(names) > MAX_FINALIZERS:
        return [f"metadata.finalizers is no list of at most {MAX_FINALIZERS}"]
    return [
        f"metadata.finalizers: {name!r} is no domain, '/' and name"
        for name in names
        if not isinstance(name, str) or _key_problem("finalizers", name) or "/" not in name
    ]
