from __future__ import annotations

import io
from pathlib import Path

import pytest

from mahavishnu_operator.cli.manifests import MAX_BYTES, find_kind, read_manifests
from mahavishnu_operator.support.errors import InvalidInput

POOL = "apiVersion: mahavishnu.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: a}\nspec: {backend: local-process}\n"


def write(tmp_path: Path, text: str | bytes, name: str = "m.yaml") -> str:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def refusal(source: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_manifests(source, namespace="default")
    return str(caught.value)


def test_every_document_of_a_file_is_read(tmp_path: Path) -> None:
    found = read_manifests(write(tmp_path, POOL + "---\n" + POOL.replace("a}", "b}")), namespace="default")
    assert [m.obj["metadata"]["name"] for m in found] == ["a", "b"]


def test_an_object_without_namespace_gets_the_one_asked_for(tmp_path: Path) -> None:
    assert read_manifests(write(tmp_path, POOL), namespace="team-a")[0].obj["metadata"]["namespace"] == "team-a"


def test_a_folder_gives_its_manifests_in_order_of_name(tmp_path: Path) -> None:
    write(tmp_path, POOL.replace("a}", "second}"), "2.yml")
    write(tmp_path, POOL.replace("a}", "first}"), "1.yaml")
    write(tmp_path, "not a manifest", "notes.txt")
    assert [m.obj["metadata"]["name"] for m in read_manifests(str(tmp_path), namespace="x")] == ["first", "second"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "cannot read" in refusal(str(tmp_path / "gone.yaml"))


def test_a_foreign_kind_is_refused_with_those_known(tmp_path: Path) -> None:
    assert "WorkerPool or ScanJob" in refusal(write(tmp_path, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"))


def test_an_object_without_kind_is_told_what_it_lacks(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, "a: b\n"))
    assert "apiVersion and kind" in said
    assert "None" not in said


def test_empty_standard_input_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(InvalidInput, match=r"^standard input holds no object"):
        read_manifests("-", namespace="default")


def test_broken_yaml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 2" in refusal(write(tmp_path, "a: [\n}"))


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal(write(tmp_path, b"a: \xff"))


def test_a_manifest_of_over_a_megabyte_is_refused(tmp_path: Path) -> None:
    assert "is over" in refusal(write(tmp_path, "#" * (MAX_BYTES + 1)))


def test_aliases_that_unfold_without_end_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "unfolded" in refusal(write(tmp_path, "\n".join(lines)))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "holds no object" in refusal(write(tmp_path, "---\n"))


@pytest.mark.parametrize("word", ["wp", "workerpool", "WorkerPools", "WORKERPOOL"])
def test_a_kind_is_found_by_all_its_names(word: str) -> None:
    assert find_kind(word).kind == "WorkerPool"


def test_an_unknown_kind_is_refused_with_those_known() -> None:
    with pytest.raises(InvalidInput, match="scanjobs"):
        find_kind("pods")
