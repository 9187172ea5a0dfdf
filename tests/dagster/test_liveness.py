"""Whether a run is alive, decided from evidence."""

import dagster as dg
import pytest

from dagster_project.liveness import (
    BEAT_TIMEOUT,
    HANDOVER,
    LAUNCH_GRACE,
    ORPHAN_TIMEOUT,
    SETTLE,
    Drain,
    Moment,
    Run,
    Work,
    at_work,
    judge,
)
from pista.ingest.share import Share

NOW = 1_000_000.0
CALM = Moment(NOW, restarted=NOW - 3600)
STARTED = dg.DagsterRunStatus.STARTED
FLIGHTS, WEATHER = Work("flights"), Work("weather")
BOTH = frozenset({FLIGHTS, WEATHER})


def run(age: float, status: dg.DagsterRunStatus = STARTED) -> Run:
    return Run("r" * 36, status, BOTH, NOW - age)


def drain(dataset: str, age: float, ended: bool = False, ends_in: float | None = None) -> Drain:
    return Drain("r" * 36, Work(dataset), ended, age, ends_in)


@pytest.mark.parametrize(
    ("one", "drains", "covers", "dead"),
    [
        pytest.param(run(3000), [drain("flights", 1), drain("weather", 2)], BOTH, None, id="all drains beat"),
        pytest.param(run(3000), [drain("flights", 1), drain("weather", 2, True)], {FLIGHTS}, None, id="one has ended"),
        pytest.param(run(3000), [drain("flights", 1), drain("weather", 99)], {FLIGHTS}, None, id="one hangs"),
        pytest.param(run(5), [drain("flights", 1)], BOTH, None, id="the second is about to begin"),
        pytest.param(run(500), [drain("flights", 1)], {FLIGHTS}, None, id="the second never began"),
        pytest.param(run(20), [drain("flights", BEAT_TIMEOUT)], set(), "not beaten for 15 s", id="beats stopped"),
        pytest.param(run(60), [drain("flights", 2, True)], set(), None, id="all ended, the run is about to"),
        pytest.param(run(900), [drain("flights", 500, True)], set(), "ended 500 s ago", id="killed while it reported"),
        pytest.param(run(5), [], BOTH, None, id="just launched"),
        pytest.param(run(LAUNCH_GRACE), [], set(), "no sign of life", id="launched and lost"),
        pytest.param(run(5000, dg.DagsterRunStatus.QUEUED), [], BOTH, None, id="waits in the queue, however long"),
        pytest.param(run(5000, dg.DagsterRunStatus.STARTING), [], set(), "no sign of life", id="never started"),
    ],
)
def test_judge(one: Run, drains: list[Drain], covers: set[Work], dead: str | None) -> None:
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
    build = Run("m" * 36, STARTED, frozenset({Work("daily")}), NOW - 5000)
    assert judge(build, [], {"daily"}, CALM).covers == {Work("daily")}
    assert judge(build, [], {"other"}, CALM).dead is not None


def test_beating_drain_covers_whatever_dagster_says_of_its_run() -> None:
    stranger = Drain("s" * 36, WEATHER, False, 3)
    work = at_work([], [stranger], {"daily"})
    assert work.on(WEATHER) == "run ssssssss"
    assert work.on(Work("daily")) == "a session"
    assert work.on(FLIGHTS) is None


def test_drain_of_a_run_that_dagster_knows_to_be_over_is_given_up_sooner() -> None:
    silent = drain("weather", ORPHAN_TIMEOUT)
    assert at_work([], [silent], ()).on(WEATHER) is None
    assert at_work([judge(run(3000), [silent], (), CALM)], [silent], ()).on(WEATHER)


def test_drain_that_is_about_to_end_covers_nothing_but_is_alive() -> None:
    leaving = [drain("flights", 1, ends_in=HANDOVER - 1), drain("weather", 1, ends_in=HANDOVER)]
    verdict = judge(run(3000), leaving, (), CALM)
    assert verdict.covers == {WEATHER}
    assert verdict.dead is None
    work = at_work([verdict], leaving, ())
    assert work.on(FLIGHTS) is None
    assert work.leaves(FLIGHTS)
    assert not work.leaves(WEATHER)


def test_successor_that_waits_covers() -> None:
    leaving = drain("flights", 1, ends_in=5)
    waiting = Drain("w" * 36, FLIGHTS, False, 1, None)
    successor = Run("w" * 36, STARTED, frozenset({FLIGHTS}), NOW - 10)
    verdicts = [judge(run(3000), [leaving], (), CALM), judge(successor, [waiting], (), CALM)]
    assert at_work(verdicts, [leaving, waiting], ()).on(FLIGHTS) == "run wwwwwwww"


def test_shares_are_judged_one_by_one() -> None:
    halves = [Work("flights", Share(slot, 2)) for slot in (0, 1)]
    runs = [Run(str(slot) * 36, STARTED, frozenset({half}), NOW - 3000) for slot, half in enumerate(halves)]
    alive, dead = Drain("0" * 36, halves[0], False, 1), Drain("1" * 36, halves[1], False, BEAT_TIMEOUT)
    verdicts = [judge(runs[0], [alive], (), CALM), judge(runs[1], [dead], (), CALM)]
    work = at_work(verdicts, [alive, dead], ())
    assert work.on(halves[0])
    assert work.on(halves[1]) is None
    assert work.on(FLIGHTS) is None
    assert work.on(Work("flights", Share(2, 4))), "a part of a share is covered by it"


def test_one_drain_of_everything_covers_every_share() -> None:
    whole = at_work([], [drain("flights", 1)], ())
    assert all(whole.on(Work("flights", Share(slot, 3))) for slot in range(3))
