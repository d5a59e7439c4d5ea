"""Which files a scan looks at: git's answer in a work tree, a walk of the folder elsewhere.

The pressure: the scanned tree is hostile. A repository's own configuration can name programs to run
(core.fsmonitor), its links can point anywhere, its names can be any bytes. What must stay true: nothing
that the tree names is ever started; no link is followed, on the way to a file either; whatever is left out
for a reason that a person could want to know is in `skipped`, in words.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mahavishnu_operator.support.errors import InvalidInput

from .git_files import GitFiles, GitUnusable, find_repository, list_git_files
from .globs import compile_globs
from .model import ListedBy, Unread

MAX_FILE_BYTES = 32 * 1024 * 1024  # generated data; no scanner has an answer worth its minutes
LEFT_OUT_FOLDERS = frozenset(
    {
        *(".git", ".hg", ".svn", ".bzr", "CVS"),
        *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"),
        *("node_modules", ".venv", ".tox", ".nox", ".eggs", "__pypackages__"),
    }
)
VENV_MARK = "pyvenv.cfg"  # a virtual environment under any name


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A regular file: relative POSIX path (os.fsdecode) and size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Files in the order of their path's bytes. `links`: symbolic links that end in the tree, which no scan follows."""

    files: tuple[ListedFile, ...]
    listed_by: ListedBy
    skipped: tuple[Unread, ...] = ()
    links: tuple[str, ...] = ()


def list_files(
    root: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), unpacked: bool = False
) -> Listing:
    """The files under `root` that a scan looks at; globs as in globs.py, no include means all.

    In a git work tree: tracked files that are there, and untracked ones that are not ignored; a folder that
    is itself ignored is walked like a plain one. `unpacked`: root is what an archive held, and all of it is looked at,
    because who made the archive has chosen. InvalidInput when root is not a folder that can be read.
    """
    _require_folder(root)
    skipped: list[Unread] = []
    names, listed_by = (_walk(root, skipped, whole=True), "archive") if unpacked else _names(root, skipped)
    wanted = compile_globs(include) if include else None
    unwanted = compile_globs(exclude) if exclude else None
    folders: dict[str, bool] = {"": True}
    files: list[ListedFile] = []
    links: list[str] = []
    for name in sorted(set(names), key=os.fsencode):
        if (wanted and not wanted(name)) or (unwanted and unwanted(name)):
            continue
        found = _look_at(root, name, folders)
        if isinstance(found, ListedFile):
            files.append(found)
        elif isinstance(found, str):
            links.append(found)
        elif found is not None:
            skipped.append(found)
    ordered = tuple(sorted(skipped, key=lambda unread: os.fsencode(unread.path)))
    return Listing(files=tuple(files), listed_by=listed_by, skipped=ordered, links=tuple(links))


def _require_folder(root: Path) -> None:
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidInput(f"cannot list {root}: {why}", hint="name a folder that the worker can read") from None


def _names(root: Path, skipped: list[Unread]) -> tuple[Iterable[str], ListedBy]:
    """Candidates by relative path, and who listed them."""
    repository = find_repository(root)
    if repository is not None:
        try:
            listed = list_git_files(root, repository)
        except GitUnusable as error:
            skipped.append(Unread(".git", f"{error}; every file was listed, also those that git would ignore"))
        else:
            if listed is not None:
                return _from_git(root, listed), "git"
    return _walk(root, skipped), "walk"


def _from_git(root: Path, listed: GitFiles) -> Iterator[str]:
    """Tracked files, and untracked ones outside of folders that nobody means to scan."""
    yield from listed.tracked
    tools_own: dict[str, bool] = {"": False}
    for name in listed.untracked:
        if not _is_left_out(root, name.rstrip("/").rpartition("/")[0], tools_own):
            yield name


def _is_left_out(root: Path, folder: str, known: dict[str, bool]) -> bool:
    if folder not in known:
        above, _, name = folder.rpartition("/")
        known[folder] = (
            name in LEFT_OUT_FOLDERS or _is_left_out(root, above, known) or (root / folder / VENV_MARK).is_file()
        )
    return known[folder]


def _walk(root: Path, skipped: list[Unread], *, whole: bool = False) -> Iterator[str]:
    """Every name below root that is no folder, without following links; unless `whole`, without folders of tools."""

    def unreadable(error: OSError) -> None:
        skipped.append(Unread(os.path.relpath(error.filename, root), f"cannot list it: {error.strerror}"))

    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        relative = os.path.relpath(folder, root)
        prefix = "" if relative == "." else f"{relative}/"
        if prefix and VENV_MARK in names and not whole:
            subfolders.clear()
            continue
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        left_out = frozenset(links) if whole else LEFT_OUT_FOLDERS.union(links)
        subfolders[:] = [name for name in subfolders if name not in left_out]
        yield from (prefix + name for name in (*names, *links))


def _look_at(root: Path, name: str, folders: dict[str, bool]) -> ListedFile | Unread | str | None:
    """The file, why it is left out, the name again of a link within the tree, or None when there is nothing to say."""
    if not _all_folders(root, name.rstrip("/").rpartition("/")[0], folders):
        return None  # git remembers a file behind what is a link by now
    path = root / name
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None  # deleted, but still in the index
    except OSError as error:
        return Unread(name, f"cannot look at it: {error.strerror}")
    if stat.S_ISLNK(status.st_mode):
        target = os.path.realpath(path)
        inside = f"{os.path.realpath(root)}{os.sep}"
        return name if target.startswith(inside) else Unread(name, "a symbolic link that leaves the scanned folder")
    if stat.S_ISDIR(status.st_mode):
        return Unread(name.rstrip("/"), "a repository of its own (submodule): scan it by itself")
    if not stat.S_ISREG(status.st_mode):
        return Unread(name, "not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        return Unread(name, f"{status.st_size} bytes: larger than {MAX_FILE_BYTES // 1024**2} MiB")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return Unread(name, "no permission to read it")
    return ListedFile(name, status.st_size)


def set_aside_links(root: Path, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[Unread, ...]]:
    """Of names that were listed before: those still reached without a link, and the others. What is gone stays."""
    folders: dict[str, bool] = {"": True}
    kept: list[str] = []
    links: list[Unread] = []
    for name in names:
        folder = name.rpartition("/")[0]
        if os.path.islink(root / name):
            links.append(Unread(name, "it has become a symbolic link since it was listed"))
        elif not _all_folders(root, folder, folders) and os.path.lexists(root / name):
            links.append(Unread(name, "its folder has become a symbolic link since it was listed"))
        else:
            kept.append(name)
    return tuple(kept), tuple(links)


def _all_folders(root: Path, folder: str, known: dict[str, bool]) -> bool:
    """Whether every step from root to `folder` is a folder and no link."""
    if folder not in known:
        above = folder.rpartition("/")[0]
        try:
            known[folder] = _all_folders(root, above, known) and stat.S_ISDIR(os.lstat(root / folder).st_mode)
        except OSError:
            known[folder] = False
    return known[folder]
