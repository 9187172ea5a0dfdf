"""Whether a run is alive, decided from evidence."""

import dagster as dg
import pytest

from dagster_project.liveness import (
    BEAT_TIMEOUT,
    LAUNCH_GRACE,
    ORPHAN_TIMEOUT,
    SETTLE,
    Drain,
    Moment,
    Run,
    covered,
    judge,
)

NOW = 1_000_000.0
CALM = Moment(NOW, restarted=NOW - 3600)
STARTED = dg.DagsterRunStatus.STARTED
BOTH = frozenset({"flights", "weather"})


def run(age: float, status: dg.DagsterRunStatus = STARTED) -> Run:
    return Run("r" * 36, status, BOTH, NOW - age)


def drain(dataset: str, age: float, ended: bool = False) -> Drain:
    return Drain("r" * 36, dataset, ended, age)


@pytest.mark.parametrize(
    ("one", "drains", "covers", "dead"),
    [
        pytest.param(run(3000), [drain("flights", 1), drain("weather", 2)], BOTH, None, id="all drains beat"),
        pytest.param(
            run(3000), [drain("flights", 1), drain("weather", 2, True)], {"flights"}, None, id="one has ended"
        ),
        pytest.param(run(3000), [drain("flights", 1), drain("weather", 99)], {"flights"}, None, id="one hangs"),
        pytest.param(run(5), [drain("flights", 1)], BOTH, None, id="the second is about to begin"),
        pytest.param(run(500), [drain("flights", 1)], {"flights"}, None, id="the second never began"),
        pytest.param(run(20), [drain("flights", BEAT_TIMEOUT)], set(), "not beaten for 15 s", id="beats stopped"),
        pytest.param(run(60), [drain("flights", 2, True)], set(), None, id="all ended, the run is about to"),
        pytest.param(run(900), [drain("flights", 500, True)], set(), "ended 500 s ago", id="killed while it reported"),
        pytest.param(run(5), [], BOTH, None, id="just launched"),
        pytest.param(run(LAUNCH_GRACE), [], set(), "no sign of life", id="launched and lost"),
        pytest.param(run(5000, dg.DagsterRunStatus.QUEUED), [], BOTH, None, id="waits in the queue, however long"),
        pytest.param(run(5000, dg.DagsterRunStatus.STARTING), [], set(), "no sign of life", id="never started"),
    ],
)
def test_judge(one: Run, drains: list[Drain], covers: set[str], dead: str | None) -> None:
    verdict = judge(one, drains, (), CALM)
    assert verdict.covers == covers
    assert (dead in verdict.dead) if dead and verdict.dead else (verdict.dead is dead)


def test_run_from_before_a_restart_gets_a_moment_and_no_more() -> None:
    before = run(SETTLE + 20)
    assert judge(before, [], (), Moment(NOW, NOW - SETTLE + 1)).dead is None
    verdict = judge(before, [], (), Moment(NOW, NOW - SETTLE))
    assert verdict.dead is not None
    assert "before the last restart" in verdict.dead


def test_old_beats_are_dead_at_once_after_a_reboot() -> None:
    assert judge(run(30), [drain("flights", 25)], (), Moment(NOW, NOW - 1)).dead is not None


def test_run_that_beats_after_a_restart_is_alive() -> None:
    assert judge(run(30), [drain("flights", 1)], (), Moment(NOW, NOW - SETTLE)).dead is None


def test_session_that_builds_a_mart_is_life() -> None:
    build = Run("m" * 36, STARTED, frozenset({"daily"}), NOW - 5000)
    assert judge(build, [], {"daily"}, CALM).covers == {"daily"}
    assert judge(build, [], {"other"}, CALM).dead is not None


def test_beating_drain_covers_whatever_dagster_says_of_its_run() -> None:
    stranger = Drain("s" * 36, "weather", False, 3)
    assert covered([], [stranger], {"daily"}) == {"weather": "run ssssssss", "daily": "a session"}


def test_drain_of_a_run_that_dagster_knows_to_be_over_is_given_up_sooner() -> None:
    silent = drain("weather", ORPHAN_TIMEOUT)
    assert covered([], [silent], ()) == {}
    assert covered([judge(run(3000), [silent], (), CALM)], [silent], ()).keys() == {"weather"}
