"""How ids of the outside are names of objects: `namespace/name`, stable and readable; pure.

What must stay true: an id that is not of that form is refused in words before it becomes part of a path; a name that is
made here is never used twice; an id that a caller chose is the same name whenever it is given.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from mahavishnu_operator.api.base import LABEL_PATTERN, NAME_PATTERN
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.text import printable

LONGEST = 63
SHOWN = 80  # characters of what was given
RULE = "small letters, digits and hyphens, at most 63, as in team/scanners-1"
_NAME, _NAMESPACE = re.compile(NAME_PATTERN), re.compile(LABEL_PATTERN)


def parse_id(text: str, *, namespace: str, what: str = "id") -> Key:
    """The key in `namespace/name`, or in a bare name of that namespace. InvalidInput: it can be no such id."""
    head, slash, tail = text.partition("/")
    space, name = (head, tail) if slash else (namespace, text)
    check_name(name, what=what, given=text)
    if len(space) > LONGEST or not _NAMESPACE.fullmatch(space):
        raise InvalidInput(f"{what} {shown(text)} is not namespace/name", hint=RULE)
    return Key(space, name)


def check_name(name: str, *, what: str, given: str | None = None) -> None:
    """InvalidInput when no object can have that name."""
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        raise InvalidInput(f"{what} {shown(name if given is None else given)} can be no name", hint=RULE)


def new_name(prefix: str) -> str:
    """A name that is used once."""
    return f"{prefix}-{secrets.token_hex(6)}"


def name_of(prefix: str, chosen: str) -> str:
    """The one name of an id that a caller chose freely."""
    return f"{prefix}-{hashlib.sha256(chosen.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def label_value(text: str) -> str:
    """Who somebody is, as the value of a label: what a label cannot hold becomes a hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:LONGEST].strip("-._") or "unknown"


def shown(text: str) -> str:
    """What was given, short enough for a message."""
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return f"'{printable(cut)}'"
