"""Cutting tools and files into shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.scan.listing import ListedFile, Listing
from mahavishnu_operator.scan.planner import argv_bytes, bin_count, make_bins, make_plan
from mahavishnu_operator.scan.tools.bandit import Bandit
from mahavishnu_operator.scan.tools.codespell import Codespell
from mahavishnu_operator.scan.tools.common import MAX_ARGV_BYTES
from mahavishnu_operator.scan.tools.protocol import Cost, Tool
from mahavishnu_operator.scan.tools.ruff import Ruff

SLOW = Cost(startup_seconds=0.1, per_file_seconds=1.0, memory_mib=1)  # a bin pays off from one file on


@dataclass
class Blobs:
    """Keeps what the planner puts."""

    kept: dict[str, bytes]

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self.kept[sha256] = data
        return sha256

    def files(self, sha256: str) -> list[str]:
        data = self.kept[sha256]
        assert data.endswith(b"\0")
        return [os.fsdecode(name) for name in data.split(b"\0")[:-1]]


class WholeProgram(Ruff):
    """A tool whose answer depends on all files at once."""

    name = "whole"
    whole_program = True
    cost = SLOW


names = st.text(alphabet="ab/\n\udcff", min_size=1, max_size=8).map(lambda name: name + ".py")
listings = st.dictionaries(names, st.integers(0, 100_000), max_size=60).map(
    lambda sizes: [ListedFile(path, size) for path, size in sizes.items()]
)


def listing(files: list[ListedFile]) -> Listing:
    return Listing(files=tuple(files), listed_by="walk")


@given(files=listings, bins=st.integers(1, 9), chunk_size=st.sampled_from([0, 0, 1, 3, 100]))
def test_every_selected_file_is_in_exactly_one_bin_of_each_tool(
    files: list[ListedFile], bins: int, chunk_size: int
) -> None:
    blobs = Blobs({})
    tools: list[Tool] = [Bandit(), Codespell(), Ruff(), WholeProgram()]
    plan = make_plan(listing(files), tools, bins=bins, chunk_size=chunk_size, put=blobs.put)
    for tool in tools:
        planned = [path for shard in plan.shards if shard.tool == tool.name for path in blobs.files(shard.files_sha256)]
        assert sorted(planned) == sorted(file.path for file in files if tool.selects(file.path))


@given(files=listings, bins=st.integers(1, 9), chunk_size=st.sampled_from([0, 2]), data=st.data())
def test_the_plan_does_not_depend_on_the_order_of_files_and_tools(
    files: list[ListedFile], bins: int, chunk_size: int, data: st.DataObject
) -> None:
    tools: list[Tool] = [Bandit(), Codespell(), WholeProgram()]
    again = data.draw(st.permutations(files)), data.draw(st.permutations(tools))
    blobs = Blobs({})
    first = make_plan(listing(files), tools, bins=bins, chunk_size=chunk_size, put=blobs.put)
    second = make_plan(listing(again[0]), again[1], bins=bins, chunk_size=chunk_size, put=blobs.put)
    assert first == second


@given(files=listings, bins=st.integers(1, 9))
def test_no_bin_is_heavier_than_another_by_more_than_the_largest_file(files: list[ListedFile], bins: int) -> None:
    loads = [sum(file.size for file in each) for each in make_bins(files, cost=SLOW, bins=bins)]
    largest = max((file.size for file in files), default=0)
    assert max(loads, default=0) - min(loads, default=0) <= largest


@given(files=listings, bins=st.integers(1, 9))
def test_shards_come_costliest_first_and_have_unique_ids(files: list[ListedFile], bins: int) -> None:
    plan = make_plan(listing(files), [Bandit(), Ruff(), WholeProgram()], bins=bins, chunk_size=0, put=Blobs({}).put)
    costs = [shard.cost_seconds for shard in plan.shards]
    assert costs == sorted(costs, reverse=True)
    assert len({shard.id for shard in plan.shards}) == len(plan.shards)


def test_a_whole_program_tool_is_never_split() -> None:
    files = [ListedFile(f"{n}.py", 10**6) for n in range(50)]
    plan = make_plan(listing(files), [WholeProgram()], bins=9, chunk_size=2, put=Blobs({}).put)
    assert [(shard.id, shard.file_count) for shard in plan.shards] == [("whole-0001", 50)]


def test_fixed_chunks_have_that_many_files() -> None:
    files = [ListedFile(f"{n:02d}.py", n) for n in range(25)]
    assert sorted(len(each) for each in make_bins(files, cost=SLOW, bins=2, chunk_size=10)) == [5, 10, 10]


@pytest.mark.parametrize(
    ("cost", "files", "size", "bins", "wanted"),
    [
        (Ruff.cost, 100, 7_500, 6, 1),  # 0.04 s of work is not worth a second start
        (Bandit.cost, 500, 7_500, 6, 4),  # 6 s of work, 1.4 s a bin
        (Bandit.cost, 5_000, 7_500, 6, 6),  # as many as there are workers for
        (Codespell.cost, 500, 7_500, 6, 1),
        (Bandit.cost, 4, 4_000_000, 6, 4),  # few large files: by bytes, and no bin without a file
    ],
)
def test_as_many_bins_as_pay_for_their_start(cost: Cost, files: int, size: int, bins: int, wanted: int) -> None:
    assert bin_count([ListedFile(f"{n}.py", size) for n in range(files)], cost, bins) == wanted


@pytest.mark.parametrize("chunk_size", [0, 100_000])
def test_the_paths_of_a_bin_fit_a_command_line(chunk_size: int) -> None:
    files = [ListedFile(f"{n:05d}" + "x" * 200 + ".py", 0) for n in range(6_000)]
    cut = make_bins(files, cost=Ruff.cost, bins=1, chunk_size=chunk_size)
    assert len(cut) == 3
    assert sum(len(each) for each in cut) == len(files)
    assert max(sum(argv_bytes(file) for file in each) for each in cut) <= MAX_ARGV_BYTES


def test_a_tool_without_files_has_no_shard_and_what_was_skipped_is_kept() -> None:
    put: Callable[[bytes], str] = Blobs({}).put
    plan = make_plan(listing([ListedFile("a.md", 5)]), [Bandit()], bins=3, chunk_size=0, put=put)
    assert (plan.shards, plan.file_count, plan.total_bytes) == ((), 1, 5)


def test_many_files_are_planned_quickly() -> None:
    files = [ListedFile(f"pkg{n % 97}/{n}.py", n % 9_973) for n in range(50_000)]
    plan = make_plan(listing(files), [Bandit()], bins=3_000, chunk_size=0, put=Blobs({}).put)
    assert sum(shard.file_count for shard in plan.shards) == 50_000
