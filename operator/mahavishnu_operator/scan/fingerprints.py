"""What makes two findings the same across scans: everything but the line number.

The pressure: a baseline that breaks when somebody adds an import above is worthless, and so is one in which
two equal lines share a fate. So a fingerprint is made of tool, rule, path, the text of the line without its
spacing, and the how-manieth of its equals it is in that file. What must stay true: the recipe never changes
under the name `mahavishnu/v1`; a file's findings are fingerprinted together (a file lies in one bin whole).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from .model import Finding

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

SCHEME = "mahavishnu/v1"
LENGTH = 32  # hex digits: 128 bits


def position(finding: Finding) -> tuple[bytes, int, int, str, str]:
    """The order in which findings are numbered and shown within a tool."""
    return os.fsencode(finding.path), finding.line, finding.column, finding.rule, finding.message


def with_fingerprints(
    findings: Iterable[Finding], line_text: Callable[[str, int], bytes | None]
) -> tuple[Finding, ...]:
    """The findings in order of position, each with its fingerprint.

    `line_text(path, line)` answers the raw bytes of a line (from 1), or None when it cannot be read: then
    the message stands in for it.
    """
    seen: Counter[bytes] = Counter()
    out: list[Finding] = []
    line = ("", 0)
    known: dict[tuple[str, str], Hash] = {}  # of the line that was hashed last, which may be megabytes
    for finding in sorted(findings, key=position):
        if line != (finding.path, finding.line):
            line, known = (finding.path, finding.line), {}
        hashed = known.get((finding.tool, finding.rule))
        if hashed is None:
            raw = line_text(finding.path, finding.line) if finding.line > 0 else None
            text = b"message:" + _encode(finding.message) if raw is None else b"line:" + b" ".join(raw.split())
            hashed = _hash((_encode(finding.tool), _encode(finding.rule), os.fsencode(finding.path), text))
            if raw is not None:
                known[finding.tool, finding.rule] = hashed
        same = hashed.digest()
        numbered = _add(hashed.copy(), str(seen[same]).encode())
        out.append(replace(finding, fingerprint=numbered.hexdigest()[:LENGTH]))
        seen[same] += 1
    return tuple(out)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _hash(parts: tuple[bytes, ...]) -> Hash:
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest


def _add(digest: Hash, part: bytes) -> Hash:
    """Each part with its length in front, so that no two lists of parts look alike."""
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)
    return digest
