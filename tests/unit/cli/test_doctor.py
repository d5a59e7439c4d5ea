from __future__ import annotations

from mahavishnu_operator.cli.doctor import missing_libraries

REQUIRES = [
    "aiohttp>=3",
    "kopf<2,>=1.45; extra == 'operator'",
    'psycopg[binary]<4; extra == "operator"',
    "x; extra == 'y'",
]


def test_what_an_extra_lacks_is_read_off_the_distribution_itself() -> None:
    assert missing_libraries("operator", REQUIRES, {}) == ["kopf", "psycopg"]
    assert missing_libraries("operator", REQUIRES, {"kopf": "1.45.2"}) == ["psycopg"]
    assert missing_libraries("operator", REQUIRES, {"kopf": "1.45.2", "psycopg": "3.2"}) == []


def test_an_extra_that_nobody_defines_lacks_nothing() -> None:
    assert missing_libraries("none", REQUIRES, {}) == []
