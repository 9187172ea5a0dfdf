"""Back-off of requests that move nothing."""

import pytest

from dagster_project.backoff import LONGEST_DELAY, Asks

BOOT = 0.0


def ask(times: int, position: int = 7) -> Asks:
    asks = Asks()
    for _ in range(times):
        asks.note("flights", position, 1000.0, BOOT)
    return asks


@pytest.mark.parametrize(
    ("times", "seconds"), [(0, 0), (1, 0), (2, 10), (3, 20), (4, 40), (6, LONGEST_DELAY), (99, LONGEST_DELAY)]
)
def test_delay_doubles_up_to_a_limit(times: int, seconds: float) -> None:
    assert ask(times).wait("flights", 7, 1000.0, BOOT) == seconds


def test_delay_grows_further_where_it_may() -> None:
    assert ask(99).wait("flights", 7, 1000.0, BOOT, longest=3600.0) == 3600
    assert ask(8).wait("flights", 7, 1000.0, BOOT, longest=3600.0) == 640


def test_shortest_pause_holds_even_for_what_moved() -> None:
    assert ask(9).wait("flights", 8, 1004.0, BOOT, shortest=15.0) == 11
    assert ask(1).wait("flights", 8, 1015.0, BOOT, shortest=15.0) == 0


def test_delay_runs_down() -> None:
    assert ask(3).wait("flights", 7, 1015.0, BOOT) == 5
    assert ask(3).wait("flights", 7, 1021.0, BOOT) == 0


def test_progress_resets() -> None:
    asks = ask(5)
    assert asks.wait("flights", 8, 1000.0, BOOT) == 0
    asks.note("flights", 8, 1000.0, BOOT)
    assert asks.count("flights") == 1


def test_restart_of_the_host_resets() -> None:
    asks = ask(5)
    assert asks.wait("flights", 7, 1000.0, 1000.5) == 0
    asks.note("flights", 7, 1001.0, 1000.5)
    assert asks.count("flights") == 1


def test_cursor_round_trip() -> None:
    assert Asks.parse(ask(3).dump()).wait("flights", 7, 1000.0, BOOT) == 20


@pytest.mark.parametrize("cursor", [None, "", "no json", "[1]", '{"flights": 3}', '{"flights": {"count": 1}}'])
def test_foreign_cursor_counts_as_empty(cursor: str | None) -> None:
    assert Asks.parse(cursor).count("flights") == 0


def test_forgets_what_needs_nothing() -> None:
    asks = ask(5)
    asks.keep_only(set())
    assert asks.count("flights") == 0
