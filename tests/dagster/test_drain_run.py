"""A drain run: threads, coalesced materializations, and one dataset's trouble that stays its own."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import psycopg
import pytest

from dagster_project import drains
from dagster_project.build import build_defs
from dagster_project.coalesce import Coalesced, materialization_metadata
from dagster_project.drains import DrainTogether
from dagster_project.metadata import asset_key
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.conditions import TopicRecreated
from pista.ingest.drain import DrainReport
from pista.ingest.share import WHOLE, Share
from pista.settings import Settings

from .conftest import AIRLINES, DATASETS, FLIGHTS, WEATHER, Script, ScriptedPlatform, batch

Drain = Callable[..., DrainReport]


def drains_of(name: str, *batches: BatchReport) -> Drain:
    """A drain that commits these, then waits until it is told to stop."""

    def drain(run_id: str, should_stop: Callable[[], bool], on_batch: Callable[[BatchReport], None]) -> DrainReport:
        for one in batches:
            on_batch(one)
        deadline = time.monotonic() + 15
        while not should_stop():
            assert time.monotonic() < deadline, "nobody told the drain to stop"
            time.sleep(0.01)
        return DrainReport(name, len(batches), sum(b.records for b in batches), 0, 0, "stopped")

    return drain


def fails_with(error: Exception) -> Drain:
    def drain(**_: object) -> DrainReport:
        raise error

    return drain


def run_job(platform: ScriptedPlatform, instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    defs = build_defs(platform.settings, datasets=DATASETS, platform=platform)
    job = defs.resolve_job_def("drain_default")
    return job.execute_in_process(
        instance=instance, raise_on_error=False, asset_selection=[asset_key(name) for name in names] or None
    )


def test_batches_are_summed_into_one_materialization(
    offline: ScriptedPlatform, script: Script, instance: dg.DagsterInstance
) -> None:
    script.drains = {
        "flights": drains_of(
            "flights", *(batch("flights", 10 * i, 10 * i + 10, version=i + 1, latency_ms=i) for i in range(30))
        ),
        "weather": drains_of("weather"),
        "airlines": drains_of("airlines"),
    }
    script.rows["flights"] = 281
    result = run_job(offline, instance)
    assert result.success
    events = result.get_asset_materialization_events()
    assert {event.asset_key for event in events} == {asset_key("flights")}, "quiet datasets materialize nothing"
    # the first batch is reported at once, the rest when its ten seconds are over or its drain ends
    assert len(events) == 2
    found = [{k: v.value for k, v in event.materialization.metadata.items()} for event in events]
    assert sum(one["records"] for one in found) == 300
    assert sum(one["batches"] for one in found) == 30
    assert found[-1]["version"] == 30
    assert found[-1]["latency_ms"] == 29
    assert found[-1]["offsets"] == {"0": [10, 300]}
    assert found[-1]["dagster/row_count"] == 281
    assert found[0].keys() == found[1].keys()


def test_unknown_numbers_are_left_out(offline: ScriptedPlatform, script: Script, instance: dg.DagsterInstance) -> None:
    script.drains["weather"] = drains_of("weather", batch("weather", 0, 5, lag=None, latency_ms=None))
    result = run_job(offline, instance, "weather")
    (event,) = result.get_asset_materialization_events()
    assert not {"lag", "latency_ms", "dagster/row_count"} & event.materialization.metadata.keys()


def test_unknown_fields_are_told_in_the_metadata() -> None:
    batches = Coalesced("weather")
    assert "unknown_fields" not in materialization_metadata(batches, None)
    batches.add(batch("weather", 0, 5, unknown_fields={"gate": 1}))
    batches.add(batch("weather", 5, 9, unknown_fields={"gate": 2, "crew": 1}))
    assert materialization_metadata(batches, None)["unknown_fields"].value == {"gate": 3, "crew": 1}


def test_reports_at_most_every_ten_seconds(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(drains, "time", clock)

    def drain(run_id: str, should_stop: Callable[[], bool], on_batch: Callable[[BatchReport], None]) -> DrainReport:
        for second in range(60):
            clock.at(second)
            on_batch(batch("flights", second, second + 1))
            clock.wait_taken()
        return DrainReport("flights", 60, 60, 60, 0, "idle")

    script.drains["flights"] = drain
    platform = ScriptedPlatform(Settings(drain_idle_seconds=1e6, drain_max_seconds=1e6), script)
    together = DrainTogether(platform, [FLIGHTS], "run", on_failure=pytest.fail)
    seen = [metadata["batches"] for _, metadata in together.run()]
    assert sum(seen) == 60
    assert 6 <= len(seen) <= 8


class FakeClock:
    """``time`` for the collector: it shows what the drain's thread sets, and tells when it was read twice since."""

    def __init__(self) -> None:
        self._now = 0.0
        self._reads = threading.Semaphore(0)

    def at(self, now: float) -> None:
        self._now = now

    def monotonic(self) -> float:
        self._reads.release()
        return self._now

    def wait_taken(self) -> None:
        assert self._reads.acquire(timeout=10)


def test_failing_dataset_does_not_stop_the_others(
    offline: ScriptedPlatform, script: Script, instance: dg.DagsterInstance
) -> None:
    script.drains = {
        "flights": fails_with(TopicRecreated("flights", "the topic nyc.flights is another one; accept it with X.")),
        "weather": drains_of("weather", batch("weather", 0, 5)),
        "airlines": fails_with(ValueError("no such thing")),
    }
    result = run_job(offline, instance)
    assert not result.success
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {asset_key("weather")}
    (failure,) = result.get_step_failure_events()
    text = failure.step_failure_data.error.message + str(failure.step_failure_data)
    assert "Stopped 2 of 3 datasets" in text
    assert "TOPIC_RECREATED: dataset flights" in text
    assert "accept it with X" in text
    assert "airlines: ValueError: no such thing" in text
    assert "weather:" not in text


def test_database_that_is_away_for_a_moment_does_not_end_the_run(
    offline: ScriptedPlatform, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(dataset: str) -> int:
        raise psycopg.OperationalError("server closed the connection")

    monkeypatch.setattr(offline, "row_count", away)
    script.drains["weather"] = drains_of("weather", batch("weather", 0, 5))
    ((_, metadata),) = DrainTogether(offline, [WEATHER], "run", on_failure=pytest.fail).run()
    assert metadata["records"] == 5
    assert "dagster/row_count" not in metadata


def test_a_selection_drains_only_itself(
    offline: ScriptedPlatform, script: Script, instance: dg.DagsterInstance
) -> None:
    script.drains["weather"] = drains_of("weather", batch("weather", 0, 5))
    assert run_job(offline, instance, "weather").success


def test_quiet_dataset_stays_warm_while_another_is_busy(offline: ScriptedPlatform, script: Script) -> None:
    ended: dict[str, float] = {}

    def busy(run_id: str, should_stop: Callable[[], bool], on_batch: Callable[[BatchReport], None]) -> DrainReport:
        for i in range(10):
            time.sleep(0.1)
            on_batch(batch("flights", i, i + 1))
        ended["busy"] = time.monotonic()
        return drains_of("flights")(run_id, should_stop, on_batch)

    def quiet(run_id: str, should_stop: Callable[[], bool], on_batch: Callable[[BatchReport], None]) -> DrainReport:
        report = drains_of("weather")(run_id, should_stop, on_batch)
        ended["quiet"] = time.monotonic()
        return report

    script.drains = {"flights": busy, "weather": quiet}
    list(DrainTogether(offline, [FLIGHTS, WEATHER], "run", on_failure=pytest.fail).run())
    assert ended["quiet"] - ended["busy"] >= 0.25, "the group is idle only 0.3 s after the last batch of any"


def test_longest_time_ends_a_busy_run(script: Script) -> None:
    platform = ScriptedPlatform(Settings(drain_idle_seconds=30, drain_max_seconds=0.5), script)
    script.drains["airlines"] = drains_of("airlines", batch("airlines", 0, 1))
    started = time.monotonic()
    list(DrainTogether(platform, [AIRLINES], "run", on_failure=pytest.fail).run())
    assert time.monotonic() - started < 5


def test_termination_stops_every_thread(offline: ScriptedPlatform, script: Script) -> None:
    stopped = threading.Event()

    def drain(run_id: str, should_stop: Callable[[], bool], on_batch: Callable[[BatchReport], None]) -> DrainReport:
        on_batch(batch("flights", 0, 1))
        report = drains_of("flights")(run_id, should_stop, on_batch)
        stopped.set()
        return report

    script.drains["flights"] = drain
    platform = ScriptedPlatform(offline.settings.model_copy(update={"drain_idle_seconds": 1000.0}), script)
    iterator = DrainTogether(platform, [FLIGHTS], "run", on_failure=pytest.fail).run()
    next(iterator)
    iterator.close()  # as an interrupt in the main thread does
    assert stopped.is_set()


def test_waiting_for_the_drain_before_is_not_being_idle(offline: ScriptedPlatform, script: Script) -> None:
    script.turn.clear()
    script.drains["weather"] = drains_of("weather", batch("weather", 0, 5))
    threading.Timer(1.0, script.turn.set).start()  # three times as long as a run may be idle
    started = time.monotonic()
    ((_, metadata),) = DrainTogether(offline, [WEATHER], "run", on_failure=pytest.fail).run()
    assert metadata["records"] == 5
    assert time.monotonic() - started >= 1.3


def test_a_run_drains_the_share_of_its_tag(script: Script, instance: dg.DagsterInstance) -> None:
    platform = ScriptedPlatform(Settings(drain_idle_seconds=0.3, drain_max_seconds=20), script)
    datasets = {**DATASETS, "flights": replace(FLIGHTS, parallelism=3)}
    script.drains["flights"] = drains_of("flights", batch("flights", 0, 5))
    job = build_defs(platform.settings, datasets=datasets, platform=platform).resolve_job_def("drain_flights")
    assert job.execute_in_process(instance=instance, tags={"pista/share": "2/3"}).success
    assert job.execute_in_process(instance=instance).success
    assert script.shares == [("flights", Share(2, 3)), ("flights", WHOLE)]
