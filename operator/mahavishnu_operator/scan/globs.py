"""The globs of spec.scan.include and exclude: a small, documented part of what .gitignore understands.

The pressure: the same pattern must choose the same files on every worker and Python version, so it is
translated here and not left to a library that changes. The rules, all of them:
- `*`, `?` and `[...]` match within one name and never a `/`; `**` crosses folders;
- a pattern without `/` matches any one name on the way: the file's own or a folder's above it;
- a trailing `/` means a folder: everything below it is matched;
- any other `/` anchors the pattern at the scanned root (`/x` anchors a single name);
- `./` in front is dropped; there is no `!` and no escape with a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mahavishnu_operator.support.errors import InvalidInput


def compile_globs(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A predicate on relative POSIX paths: true when any pattern matches. InvalidInput for an empty pattern."""
    regexes = [re.compile(translate(pattern)) for pattern in patterns]
    return lambda path: any(regex.fullmatch(path) for regex in regexes)


def translate(pattern: str) -> str:
    """The regular expression that matches the whole relative path. InvalidInput when it names nothing."""
    body = pattern.removeprefix("./")
    folder = body.endswith("/")
    anchored = "/" in body.rstrip("/")
    body = body.strip("/")
    if not body:
        raise InvalidInput(f"the glob {pattern!r} names no file", hint="`**` matches everything")
    inner = _segments(body.split("/"))
    below = r"/.+" if folder else "" if anchored else r"(?:/.+)?"
    above = "" if anchored else r"(?:.+/)?"
    return f"(?s:{above}{inner}{below})"


def _segments(segments: Sequence[str]) -> str:
    """`a/**/b` as a regular expression; `**` alone matches any number of folders, also none."""
    out: list[str] = []
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        if segment == "**":
            out.append(".+" if index == last else "(?:.+/)?")
        else:
            out.append(_segment(segment) + ("" if index == last else "/"))
    return "".join(out)


def _segment(segment: str) -> str:
    """One name's pattern; a `[` without its `]` is an ordinary character."""
    out: list[str] = []
    position = 0
    while position < len(segment):
        char = segment[position]
        position += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := segment.find("]", position + 1)) > 0:
            out.append(_character_class(segment[position:end]))
            position = end + 1
        else:
            out.append(re.escape(char))
    return re.sub(r"(?:\[\^/\]\*){2,}", "[^/]*", "".join(out))  # `***` must not backtrack for ever


def _character_class(inside: str) -> str:
    """`[abc]`, `[a-z]`, `[!a]`; a range that runs backwards matches nothing."""
    negated = inside[0] in "!^"
    chars = inside[1:] if negated else inside
    parts: list[str] = []
    position = 0
    while position < len(chars):
        if chars[position + 1 : position + 2] == "-" and position + 2 < len(chars):
            low, high = chars[position], chars[position + 2]
            if low <= high:
                parts.append(f"{re.escape(low)}-{re.escape(high)}")
            position += 3
        else:
            parts.append(re.escape(chars[position]))
            position += 1
    if negated:
        return f"[^/{''.join(parts)}]"
    return f"(?!/)[{''.join(parts)}]" if parts else "(?!)"
