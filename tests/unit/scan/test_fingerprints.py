"""What makes two findings the same across scans."""

from __future__ import annotations

from dataclasses import replace

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.fingerprints import with_fingerprints
from mahavishnu_operator.scan.model import Finding

FINDING = Finding(tool="ruff", rule="F401", level=Level.ERROR, message="unused", path="a.py", line=2, column=1)


def fingerprints(findings: list[Finding], source: bytes = b"") -> list[str]:
    lines = source.splitlines()

    def text(path: str, line: int) -> bytes | None:
        return lines[line - 1] if line <= len(lines) else None

    return [finding.fingerprint for finding in with_fingerprints(findings, text)]


def test_a_fingerprint_is_32_hex_digits_and_never_changes() -> None:
    assert fingerprints([FINDING], b"x\nimport os\n") == ["e527b76e0255b87625b4ca800249c6db"]


def test_a_fingerprint_survives_a_shift_of_lines_and_spacing() -> None:
    before = fingerprints([FINDING], b"x\nimport os\n")
    after = fingerprints([replace(FINDING, line=4, column=9)], b"x\ny\nz\n\timport   os  \r\n")
    assert before == after


def test_a_fingerprint_depends_on_tool_rule_path_and_text() -> None:
    others = [replace(FINDING, tool="x"), replace(FINDING, rule="x"), replace(FINDING, path="x")]
    found = {*fingerprints([FINDING], b"x\na\n"), *fingerprints([FINDING], b"x\nb\n")}
    for other in others:
        found |= set(fingerprints([other], b"x\na\n"))
    assert len(found) == 5


def test_equal_lines_have_fingerprints_of_their_own() -> None:
    first, second = fingerprints([replace(FINDING, line=3), FINDING], b"x\nsame\nsame\n")
    assert first != second
    assert first == fingerprints([FINDING], b"x\nsame\n")[0]


def test_parts_cannot_be_shifted_from_one_field_to_another() -> None:
    assert fingerprints([replace(FINDING, tool="ab", rule="c")]) != fingerprints(
        [replace(FINDING, tool="a", rule="bc")]
    )


def test_without_its_line_a_finding_is_known_by_its_message() -> None:
    assert fingerprints([replace(FINDING, line=0)]) == fingerprints([replace(FINDING, line=99)])
    assert fingerprints([FINDING]) != fingerprints([replace(FINDING, message="other")])


def test_a_name_that_is_not_utf8_has_a_fingerprint() -> None:
    assert len(fingerprints([replace(FINDING, path="\udcff.py", message="\ud800")])[0]) == 32
