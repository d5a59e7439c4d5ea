from __future__ import annotations

from contextlib import nullcontext

import pytest

from mahavishnu_operator.mcp_gateway.commands import argv_of, refuse_files
from mahavishnu_operator.support.errors import InvalidInput


@pytest.mark.parametrize(
    ("prompt", "argv"),
    [
        ("Execute: ruff check .", ("ruff", "check", ".")),
        ("execute:ruff check .", ("ruff", "check", ".")),
        ("ruff check .", ("ruff", "check", ".")),
        ("  echo 'two words' \n", ("echo", "two words")),
        ("echo a && rm -rf / | cat $HOME `id`", ("echo", "a", "&&", "rm", "-rf", "/", "|", "cat", "$HOME", "`id`")),
        ("Execute: complexipy a.py b.py --path .", ("complexipy", "a.py", "b.py")),
        ("Execute: complexipy --path . a.py", ("complexipy", "--path", ".", "a.py")),
        ("echo ''", ("echo", "")),
    ],
)
def test_a_prompt_is_split_into_words_and_no_shell_reads_it(prompt: str, argv: tuple[str, ...]) -> None:
    assert argv_of(prompt) == argv


@pytest.mark.parametrize(
    ("prompt", "looks"),
    [
        ("ruff check --select F", True),
        ("/usr/bin/ruff format", True),
        ("ruff --version", False),
        ("ruff rule F401", False),
        ("bandit -r src", True),
        ("codespell --version", False),
        ("mypy .", True),
        ("python3 ./run", True),
        ("python3 tool.py --fast", True),
        ("python3 /opt/tool.py", False),
        ("python3 -c print(1)", False),
        ("echo a.py .", False),
        ("sleep 1", False),
        ("kubectl get pods owner/name", False),
    ],
)
def test_a_command_that_looks_at_files_is_refused_where_there_are_none(prompt: str, looks: bool) -> None:
    with pytest.raises(InvalidInput, match="scan_submit") if looks else nullcontext():
        refuse_files(argv_of(prompt))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "the command is empty"),
        ("Execute:", "the command is empty"),
        ("'' a", "the command is empty"),
        ("echo 'a", "cannot be read"),
        ("echo " + "a" * 1025, "1025 characters"),
        ("echo" + " a" * 256, "257 arguments"),
        ("echo a\0b", "no argument can hold"),
        ("echo \ud800", "no argument can hold"),
        ("x" * 1_000_000, "1000000 characters"),
    ],
)
def test_what_can_be_no_command_is_refused_in_words(prompt: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        argv_of(prompt)
