"""Text from elsewhere on its way to a terminal, a log or a database: names and messages come from scanned code.

What must stay true: no control character reaches a terminal, which would obey it; no message is refused by a database
for a character in it; nothing is left out.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def storable(text: str) -> str:
    """The text as any database takes it: NUL and undecodable bytes written as escapes."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
