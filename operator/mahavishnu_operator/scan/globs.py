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

ANY_NUMBER = None  # `**` in a translated pattern: any number of names, also none
NOTHING = re.compile("(?!)")
Pattern = tuple[re.Pattern[str] | None, ...]


def compile_globs(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A predicate on relative POSIX paths: true when any pattern matches. InvalidInput for an empty pattern."""
    translated = [translate(pattern) for pattern in patterns]

    def matches(path: str) -> bool:
        names = path.split("/")
        return any(_matches(pattern, names) for pattern in translated)

    return matches


def translate(pattern: str) -> Pattern:
    """What each name of a path has to match, in order. InvalidInput when the pattern names nothing."""
    body = pattern.removeprefix("./")
    folder = body.endswith("/")
    anchored = "/" in body.rstrip("/")
    names = [name for name in body.split("/") if name]
    if not names:
        raise InvalidInput(f"the glob {pattern!r} names no file", hint="`**` matches everything")
    inner = tuple(ANY_NUMBER if name == "**" else _one_name(name) for name in names)
    above: Pattern = () if anchored else (ANY_NUMBER,)
    if folder or inner[-1] is ANY_NUMBER:
        return (*above, *inner, ANY_NUMBER, _one_name("*"))
    return (*above, *inner) if anchored else (*above, *inner, ANY_NUMBER)


def _matches(pattern: Pattern, names: Sequence[str]) -> bool:
    """The whole path; only the last `**` is ever tried again, so the time is bounded by their product."""
    at, name, last_any, resume = 0, 0, -1, 0
    while name < len(names):
        part = pattern[at] if at < len(pattern) else NOTHING
        if part is ANY_NUMBER:
            last_any, resume = at, name
            at += 1
        elif part.fullmatch(names[name]):
            at, name = at + 1, name + 1
        elif last_any >= 0:
            resume += 1
            at, name = last_any + 1, resume
        else:
            return False
    return all(part is ANY_NUMBER for part in pattern[at:])


def _one_name(glob: str) -> re.Pattern[str]:
    """One name's pattern; a `[` without its `]` is an ordinary character."""
    pieces = [""]  # between the stars
    position = 0
    while position < len(glob):
        char = glob[position]
        position += 1
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "."
        elif char == "[" and (end := glob.find("]", position + 1)) > 0:
            pieces[-1] += _character_class(glob[position:end])
            position = end + 1
        else:
            pieces[-1] += re.escape(char)
    first, *rest = pieces
    if not rest:
        return re.compile(first, re.DOTALL)
    # The first place where a piece fits is as good as any later one, so no star but the last is tried again.
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece)
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


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
    inner = "".join(parts)
    if negated:
        return f"[^{inner}]" if inner else "."
    return f"[{inner}]" if inner else "(?!)"
