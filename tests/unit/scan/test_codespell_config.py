"""What codespell's configuration means for files that are named one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.scan.tools.codespell_config import Settings, read_settings
from mahavishnu_operator.scan.tools.registry import TOOLS


@pytest.mark.parametrize(
    ("skip", "path", "left_out"),
    [
        ((), "a.txt", False),
        ((), ".github/a.txt", True),
        ((), "docs/.hidden", True),
        (("*.lock",), "deep/x.lock", True),
        (("vendor",), "a/vendor/x.txt", True),
        (("./vendor",), "vendor/x.txt", True),
        (("./vendor",), "a/vendor/x.txt", False),
        (("vendor/",), "vendor/x.txt", False),
        (("*/vendor/*",), "a/vendor/x.txt", True),
        (("./docs/a.txt",), "docs/a.txt", True),
        ((".",), "a.txt", True),
    ],
)
def test_what_bare_codespell_would_not_come_to_is_left_out(skip: tuple[str, ...], path: str, left_out: bool) -> None:
    assert Settings(skip=skip).leaves_out(path) is left_out


def test_hidden_files_are_looked_at_when_the_project_wants_it() -> None:
    assert not Settings(check_hidden=True).leaves_out(".github/a.txt")


def test_later_files_win_as_with_codespell(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.codespell]\nskip = ['a', 'b']\ncheck-hidden = true\n")
    assert read_settings(tmp_path) == Settings(skip=("a", "b"), check_hidden=True)
    (tmp_path / "setup.cfg").write_text("[codespell]\nskip = c, d\n")
    (tmp_path / ".codespellrc").write_text("[codespell]\nskip = e\n")
    assert read_settings(tmp_path).skip == ("e",)


@pytest.mark.parametrize("text", ["[codespell", "\xff\xfe", "[codespell]\nskip = a\nskip = b\n"])
def test_a_broken_file_settles_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".codespellrc").write_text(text)
    (tmp_path / "pyproject.toml").write_text("[tool]\ncodespell = 3\n")
    assert read_settings(tmp_path) == Settings()


@pytest.mark.parametrize("option", ["write-changes =", "w =", "write =", "summary = --write-changes", "count = -w"])
def test_a_configuration_that_would_change_files_meets_a_refusal(tmp_path: Path, option: str) -> None:
    (tmp_path / "setup.cfg").write_text(f"[codespell]\n{option}\n")
    assert read_settings(tmp_path).writes
    assert "--regex" in TOOLS["codespell"].command(["a"], scratch=tmp_path, root=tmp_path)
