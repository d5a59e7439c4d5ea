"""Cutting (tools x files) into shards: pure.

The pressure: cutting ten files a process made a suite 21 times slower (start-up is paid again and again),
and cutting a tool that looks at the whole program makes it wrong. So the unit is one tool over one bin; a
bin is worth at least ten start-ups of its tool; bins are filled largest file first, into the lightest.
What must stay true: every selected file is in exactly one bin of each tool; a whole-program tool has one
bin; the same input gives the same plan, whatever its order (a retried plan must not make new shards).
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .listing import ListedFile, Listing
from .model import Plan, Shard
from .tools.common import ARGV_OVERHEAD, MAX_ARGV_BYTES
from .tools.protocol import Cost, Tool

AVERAGE_FILE_BYTES = 7_500  # of the trees on which the costs per file were measured
STARTUPS_PER_BIN = 10  # then at most a tenth of the time goes into starting


@dataclass(slots=True)
class _Bin:
    files: list[ListedFile] = field(default_factory=list)
    bytes: int = 0
    argv: int = 0

    def add(self, file: ListedFile) -> None:
        self.files.append(file)
        self.bytes += file.size
        self.argv += argv_bytes(file)


def argv_bytes(file: ListedFile) -> int:
    """What the file's name costs on a command line."""
    return len(os.fsencode(file.path)) + ARGV_OVERHEAD


def make_plan(
    listing: Listing, tools: Sequence[Tool], *, bins: int, chunk_size: int, put: Callable[[bytes], str]
) -> Plan:
    """All shards, costliest first; `put` keeps a list of files (NUL-ended paths) and answers its sha256.

    `bins`: the most bins of a splittable tool; `chunk_size` > 0: that many files a bin instead. A tool that
    selects no file has no shard.
    """
    shards: list[Shard] = []
    for tool in sorted({tool.name: tool for tool in tools}.values(), key=lambda tool: tool.name):
        selected = [file for file in listing.files if tool.selects(file.path)]
        limit = 1 if tool.whole_program else bins
        size = 0 if tool.whole_program else chunk_size
        cut = make_bins(selected, cost=tool.cost, bins=limit, chunk_size=size, splittable=not tool.whole_program)
        for number, files in enumerate(cut, start=1):
            total = sum(file.size for file in files)
            shards.append(
                Shard(
                    id=f"{tool.name}-{number:04d}",
                    tool=tool.name,
                    files_sha256=put(b"".join(os.fsencode(file.path) + b"\0" for file in files)),
                    file_count=len(files),
                    bytes=total,
                    cost_seconds=round(estimate(tool.cost, files=len(files), total_bytes=total), 6),
                )
            )
    shards.sort(key=lambda shard: (-shard.cost_seconds, shard.id))
    return Plan(
        shards=tuple(shards),
        file_count=len(listing.files),
        total_bytes=sum(file.size for file in listing.files),
        listed_by=listing.listed_by,
        skipped=listing.skipped,
    )


def make_bins(
    files: Iterable[ListedFile], *, cost: Cost, bins: int, chunk_size: int = 0, splittable: bool = True
) -> list[tuple[ListedFile, ...]]:
    """The files in bins, heaviest bin first; files of a bin in the order of their path's bytes.

    A bin also ends where its paths would not fit a command line, unless the tool cannot be split.
    """
    ordered = sorted(files, key=lambda file: os.fsencode(file.path))
    if not ordered:
        return []
    if not splittable:
        return [tuple(ordered)]
    filled = _slices(ordered, chunk_size) if chunk_size > 0 else _balanced(ordered, bin_count(ordered, cost, bins))
    filled.sort(key=lambda filled_bin: (-filled_bin.bytes, -len(filled_bin.files), filled_bin.files[0].path))
    return [tuple(sorted(each.files, key=lambda file: os.fsencode(file.path))) for each in filled]


def bin_count(files: Sequence[ListedFile], cost: Cost, bins: int) -> int:
    """How many bins pay off: each at least ten start-ups of work, no more than asked, none empty.

    Files count as average ones; few large files count by their bytes.
    """
    average_files = max(len(files), sum(file.size for file in files) / AVERAGE_FILE_BYTES)
    worth = round(cost.per_file_seconds * average_files / (STARTUPS_PER_BIN * max(cost.startup_seconds, 1e-6)))
    return max(1, min(worth, bins, len(files)))


def estimate(cost: Cost, *, files: int, total_bytes: int) -> float:
    """Seconds that one run takes: by bytes, and never less than a tenth of an average file each."""
    return cost.startup_seconds + cost.per_file_seconds * max(total_bytes / AVERAGE_FILE_BYTES, files / 10)


def _slices(ordered: Sequence[ListedFile], size: int) -> list[_Bin]:
    """`size` files a bin in order of path (mode Fixed), fewer where the names are long."""
    out = [_Bin()]
    for file in ordered:
        if len(out[-1].files) == size or not _has_room(out[-1], file):
            out.append(_Bin())
        out[-1].add(file)
    return out


def _balanced(ordered: Sequence[ListedFile], count: int) -> list[_Bin]:
    """Longest processing time first, by bytes: the largest file into the lightest bin that has room for its name."""
    out = [_Bin() for _ in range(count)]
    lightest = [(0, 0, index) for index in range(count)]  # a heap of (bytes, files, index)
    for file in sorted(ordered, key=lambda file: (-file.size, os.fsencode(file.path))):
        full: list[tuple[int, int, int]] = []
        while lightest and not _has_room(out[lightest[0][2]], file):
            full.append(heapq.heappop(lightest))
        if not lightest:
            out.append(_Bin())
            lightest.append((0, 0, len(out) - 1))
        index = heapq.heappop(lightest)[2]
        out[index].add(file)
        for entry in (*full, (out[index].bytes, len(out[index].files), index)):
            heapq.heappush(lightest, entry)
    return [each for each in out if each.files]


def _has_room(each: _Bin, file: ListedFile) -> bool:
    return not each.files or each.argv + argv_bytes(file) <= MAX_ARGV_BYTES
