"""Which of several pools is given a job."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.api.scanjob import RoutingStrategy
from mahavishnu_operator.dispatch.routing import Candidate, choose

LEAST_LOADED, ROUND_ROBIN = RoutingStrategy.LEAST_LOADED, RoutingStrategy.ROUND_ROBIN
RANDOM, AFFINITY = RoutingStrategy.RANDOM, RoutingStrategy.AFFINITY
NAMES = [f"team/pool-{n}" for n in range(8)]
KEYS = [f"repository-{n}" for n in range(300)]

candidates = st.lists(
    st.builds(
        Candidate,
        pool=st.sampled_from(NAMES),
        waiting=st.integers(0, 50),
        ready=st.integers(0, 4),
        coming=st.integers(0, 4),
        given=st.integers(0, 2),
        last_job=st.integers(0, 9),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.pool,
)
some_pools = st.lists(st.sampled_from(NAMES), min_size=2, max_size=8, unique=True)


def homes(pools: list[str], *, strategy: RoutingStrategy = AFFINITY) -> dict[str, str]:
    """Where each key goes."""
    known = [Candidate(pool) for pool in pools]
    return {key: choose(strategy, known, key=key).pool for key in KEYS}


@given(st.sampled_from(RoutingStrategy), candidates, st.text(), st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    strategy: RoutingStrategy, known: list[Candidate], key: str, order: random.Random
) -> None:
    chosen = choose(strategy, known, key=key)
    order.shuffle(known)
    assert choose(strategy, known, key=key) == chosen


@given(some_pools)
def test_a_pool_that_goes_moves_only_its_own_keys(pools: list[str]) -> None:
    before, after = homes(pools), homes(pools[1:])
    assert all(after[key] == home for key, home in before.items() if home != pools[0])


@given(some_pools)
def test_a_pool_that_comes_takes_keys_and_moves_no_other(pools: list[str]) -> None:
    before, after = homes(pools[1:]), homes(pools)
    assert all(after[key] in {before[key], pools[0]} for key in KEYS)


@pytest.mark.parametrize("strategy", [AFFINITY, RANDOM])
def test_keys_are_spread_over_the_pools(strategy: RoutingStrategy) -> None:
    counts = Counter(homes(NAMES[:3], strategy=strategy).values())
    assert sorted(counts) == NAMES[:3]
    assert min(counts.values()) > len(KEYS) / 3 / 2


@given(candidates, st.text())
def test_affinity_and_chance_look_at_nothing_but_the_names(known: list[Candidate], key: str) -> None:
    for strategy in (AFFINITY, RANDOM):
        assert (
            choose(strategy, known, key=key).pool
            == choose(strategy, [Candidate(one.pool) for one in known], key=key).pool
        )


@given(candidates)
def test_the_least_loaded_pool_has_the_fewest_tasks_a_ready_slot(known: list[Candidate]) -> None:
    chosen = choose(LEAST_LOADED, known, key="")
    ready = [one for one in known if one.ready]
    if ready:
        assert chosen.waiting / chosen.ready == min(one.waiting / one.ready for one in ready)


def test_a_pool_with_twice_the_slots_is_given_twice_the_tasks() -> None:
    known = {"small": Candidate("small", ready=2), "large": Candidate("large", ready=4)}
    for _ in range(30):
        chosen = choose(LEAST_LOADED, list(known.values()), key="")
        known[chosen.pool] = replace(chosen, waiting=chosen.waiting + 1)
    assert (known["small"].waiting, known["large"].waiting) == (10, 20)


def test_a_pool_whose_workers_have_yet_to_come_waits_for_the_ready_ones_to_be_gone() -> None:
    ready, coming = Candidate("ready", waiting=9, ready=1), Candidate("coming", coming=5)
    empty = Candidate("empty")
    assert choose(LEAST_LOADED, [empty, coming, ready], key="") == ready
    assert choose(LEAST_LOADED, [empty, coming], key="") == coming


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True), st.integers(1, 5))
def test_turns_are_taken_whether_jobs_have_arrived_or_are_on_their_way(pools: list[str], rounds: int) -> None:
    arrived = {pool: Candidate(pool) for pool in pools}
    on_the_way = {pool: Candidate(pool) for pool in pools}
    for tick in range(1, rounds * len(pools) + 1):
        chosen = choose(ROUND_ROBIN, list(arrived.values()), key="")
        arrived[chosen.pool] = replace(chosen, last_job=tick, waiting=chosen.waiting + 1)
        chosen = choose(ROUND_ROBIN, list(on_the_way.values()), key="")
        on_the_way[chosen.pool] = replace(chosen, given=chosen.given + 1)
    assert {one.waiting for one in arrived.values()} == {rounds}
    assert {one.given for one in on_the_way.values()} == {rounds}


@given(some_pools)
def test_idle_pools_of_equal_load_take_turns_too(pools: list[str]) -> None:
    known = {pool: Candidate(pool, ready=2) for pool in pools}
    order = []
    for tick in range(1, len(pools) + 1):  # each job has ended when the next one comes
        chosen = choose(LEAST_LOADED, list(known.values()), key="")
        known[chosen.pool] = replace(chosen, last_job=tick)
        order.append(chosen.pool)
    assert order == sorted(pools)


def test_without_a_candidate_there_is_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match="no pool"):
        choose(RANDOM, [], key="")
