"""A prompt as a command: argv, without a shell; pure.

The pressure: programs send `Execute: ruff check .` and expect what a terminal would do; what they send may be written
by a model, or by whoever wrote the file that the model has read. What must stay true: no character of a prompt means
anything to a shell, because there is none; what cannot be a command is refused in words before anything is created.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from mahavishnu_operator.scan.tools.registry import TOOLS
from mahavishnu_operator.support.errors import InvalidInput

MAX_CHARACTERS = 65_536
MAX_ARGUMENTS, MAX_ARGUMENT = 256, 1024  # as the kind has them
PREFIX = "execute:"
WORDS_ALONE = ("echo", "true", "false", "sleep")  # to these, no argument is the name of a file
RUFF_ON_FILES = ("check", "format", "analyze")


def is_command(prompt: str) -> bool:
    """Whether it says itself that it is one, whoever reads it."""
    return prompt.lstrip().lower().startswith(PREFIX)


def argv_of(prompt: str) -> tuple[str, ...]:
    """The command in a prompt, with or without `Execute:` before it. InvalidInput: there is none."""
    if len(prompt) > MAX_CHARACTERS:
        raise InvalidInput(
            f"the command has {len(prompt)} characters; at most {MAX_CHARACTERS}",
            hint="name files by a pattern, or scan them with scan_submit",
        )
    text = prompt.strip()
    if is_command(text):
        text = text[len(PREFIX) :]
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"the command cannot be read: {error}", hint="close each quotation mark") from None
    if not argv or not argv[0]:
        raise InvalidInput("the command is empty", hint="write it as `Execute: ruff check .`")
    return checked(_mended(argv))


def refuse_files(argv: Sequence[str]) -> None:
    """InvalidInput: it would look at files, in a folder that has none."""
    if _names_files(argv):
        raise InvalidInput(
            f"workers in Pods have an empty folder, and {argv[0]!r} would look at files in it",
            hint="scan_submit with a git_url has them fetched; from a shell: mahavishnu scan --cluster",
        )


def checked(argv: Sequence[str]) -> tuple[str, ...]:
    """The same. InvalidInput: no task can hold it."""
    if len(argv) > MAX_ARGUMENTS:
        raise InvalidInput(
            f"the command has {len(argv)} arguments; at most {MAX_ARGUMENTS}", hint="scan files with scan_submit"
        )
    for argument in argv:
        if len(argument) > MAX_ARGUMENT:
            raise InvalidInput(
                f"an argument of the command has {len(argument)} characters; at most {MAX_ARGUMENT}",
                hint="put it into a file",
            )
        if "\0" in argument or (not argument.isascii() and _is_undecodable(argument)):
            raise InvalidInput("an argument of the command has a character that no argument can hold")
    return tuple(argv)


def _names_files(argv: Sequence[str]) -> bool:
    """A scanner that is told to scan, or a name of something in the folder that the command runs in."""
    program, words = os.path.basename(argv[0]), [each for each in argv[1:] if not each.startswith("-")]
    if program in WORDS_ALONE:
        return False
    if program == "ruff":
        return bool(words) and words[0] in RUFF_ON_FILES
    return (program in TOOLS and bool(words)) or any(map(_is_here, words))


def _is_here(word: str) -> bool:
    return word in (".", "..") or word.startswith(("./", "../")) or (word.endswith(".py") and not word.startswith("/"))


def _is_undecodable(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _mended(argv: list[str]) -> list[str]:
    """Published clients run `complexipy FILE... --path .`, with an option that complexipy 8 does not have."""
    if argv[0] == "complexipy" and argv[-2:] == ["--path", "."]:
        return argv[:-2]
    return argv
