"""Fixtures for all tests, and how hypothesis searches: the same examples in every run, and no stop-watch.

A time limit on one example fails when the machine is busy, which says nothing about the code.
"""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.cluster.fixtures",
    "tests.cluster.node.fixtures",
    "tests.postgres.fixtures",
    "tests.chaos.evidence",
]

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")
