"""The lag sensor as a state machine, on a real ephemeral instance and a real ledger database."""

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
import pytest
from kafka.errors import KafkaConnectionError

from dagster_project import sensors
from dagster_project.build import build_defs
from dagster_project.errors import DatabaseError
from dagster_project.metadata import asset_key
from dagster_project.resources import Platform, mart_session
from dagster_project.state import observe
from pista.contracts.dataset import Dataset
from pista.ingest.conditions import OffsetsExpired
from pista.ingest.pausing import Pause
from pista.ingest.share import WHOLE, Share
from pista.settings import Settings

from .conftest import DAILY, DATASETS, FLIGHTS, Script, ScriptedPlatform, refused

ALL = ["flights", "weather", "airlines"]
STARTED = dg.DagsterRunStatus.STARTED


class World:
    """Dagster, the ledger, and a script for Kafka: what a tick sees."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        platform: ScriptedPlatform,
        admin: psycopg.Connection[Any],
        datasets: dict[str, Dataset] = DATASETS,
    ) -> None:
        self.instance, self.platform, self.admin, self.script = instance, platform, admin, platform.script
        self.defs = build_defs(platform.settings, datasets=datasets, platform=platform)
        self.sensor = self.defs.get_repository_def().get_sensor_def("lag")
        self.cursor: str | None = None
        for name in ALL:
            self.script.set_lag(name, 100, 100)

    def tick(self) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"platform": self.platform}
        )
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return result

    def skip(self) -> str:
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)

    def requested(self) -> list[list[str]]:
        return [[key.path[-1] for key in request.asset_selection or []] for request in self.tick().run_requests or []]

    def launch(
        self,
        *names: str,
        status: dg.DagsterRunStatus = STARTED,
        ago: float = 0.0,
        job: str = "drain_default",
        share: Share = WHOLE,
    ) -> str:
        """A run as the daemon leaves it behind: launched ``ago`` seconds ago."""
        run = self.instance.create_run_for_job(
            self.defs.resolve_job_def(job),
            asset_selection=frozenset(map(asset_key, names)),
            tags={} if share == WHOLE else {"pista/share": str(share)},
        )
        write(self.instance, run.run_id, status, time.time() - ago)
        return run.run_id

    def beat(
        self,
        run_id: str,
        *names: str,
        ago: float = 0.0,
        ended: bool = False,
        ends_in: float | None = None,
        share: Share = WHOLE,
    ) -> None:
        for name in names:
            self.admin.execute(
                """
                INSERT INTO ingest.drains (run_id, dataset, slot, slots, beat_at, ended_at, ends_at)
                VALUES (%s, %s, %s, %s, now() - make_interval(secs => %s),
                        CASE WHEN %s THEN now() - make_interval(secs => %s) END, now() + make_interval(secs => %s))
                ON CONFLICT (run_id, dataset) DO UPDATE
                SET beat_at = excluded.beat_at, ended_at = excluded.ended_at, ends_at = excluded.ends_at
                """,
                (run_id, name, share.slot, share.of, ago, ended, ago, ends_in),
            )

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def queue(self, ago: float, flights_version: int = 1) -> None:
        self.admin.execute("UPDATE catalog.versions SET version = %s WHERE dataset = 'flights'", (flights_version,))
        self.admin.execute(
            "INSERT INTO ingest.changed_slices (mart, slice, input, changed_at) "
            "VALUES (%s, '2013-01-01', 'flights', now() - make_interval(secs => %s))",
            (DAILY.name, ago),
        )


def write(instance: dg.DagsterInstance, run_id: str, status: dg.DagsterRunStatus, at: float) -> None:
    """Write a run's status and when it got it; Dagster offers no function for the past."""
    moment = str(datetime.fromtimestamp(at, UTC).replace(tzinfo=None))
    with instance.run_storage.connect() as connection:
        connection.exec_driver_sql(
            "UPDATE runs SET status = ?, update_timestamp = ? WHERE run_id = ?", (status.value, moment, run_id)
        )


@pytest.fixture
def world(instance: dg.DagsterInstance, database: Any, script: Script) -> World:
    settings = Settings(ingest_dsn=database.ingest_dsn, kafka_bootstrap="127.0.0.1:9")
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        # what migration queued is as old as the test run
        admin.execute("DELETE FROM ingest.changed_slices")
        yield World(instance, ScriptedPlatform(settings, script), admin)  # type: ignore[misc]


def test_idle(world: World) -> None:
    assert world.skip() == "All 3 topics are drained: position 300, lag 0."


def test_lag_requests_one_run_for_the_whole_group(world: World) -> None:
    world.script.set_lag("flights", 100, 81_444)
    (request,) = world.tick().run_requests or []
    assert request.job_name == "drain_default"
    assert [key.path[-1] for key in request.asset_selection or []] == ALL
    assert request.tags["pista/group"] == "default"
    assert request.tags["pista/lag"] == "flights 81 344"
    assert request.run_key is None, "run keys dedupe for ever"
    assert request.asset_check_keys == [], "None would evaluate every check in every drain run"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, STARTED])
def test_launched_run_is_waited_for(world: World, status: dg.DagsterRunStatus) -> None:
    world.script.set_lag("flights", 100, 200)
    run_id = world.launch(*ALL, status=status)
    assert f"flights is being drained by run {run_id[:8]}, lag 100." in world.skip()
    assert world.status(run_id) is status


def test_live_run_is_left_alone(world: World) -> None:
    world.script.set_lag("flights", 100, 200)
    run_id = world.launch(*ALL, ago=3000)
    world.beat(run_id, *ALL, ago=3)
    assert "2 of 3 topics are drained: position 200, lag 0." in world.skip()
    assert world.status(run_id) is STARTED


def test_dead_run_is_reported_and_replaced_in_the_same_tick(world: World) -> None:
    world.script.set_lag("flights", 100, 200)
    run_id = world.launch(*ALL, ago=60)
    world.beat(run_id, *ALL, ago=20)
    assert world.requested() == [ALL]
    assert world.status(run_id) is dg.DagsterRunStatus.FAILURE
    outcomes = world.admin.execute("SELECT DISTINCT outcome FROM ingest.drains WHERE ended_at IS NOT NULL").fetchall()
    assert outcomes == [("dead",)]


def test_dead_run_is_reported_even_where_nothing_lags(world: World) -> None:
    run_id = world.launch(*ALL, ago=60)
    world.beat(run_id, *ALL, ago=20)
    assert f"run {run_id[:8]} is dead: its drains have not beaten for 20 s." in world.skip()
    assert world.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_run_of_before_a_reboot_that_never_beat_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.script.set_lag("flights", 100, 200)
    run_id = world.launch(*ALL, ago=40)
    monkeypatch.setattr(sensors, "observe", lambda *args: replace(observe(*args), uptime=5.0))
    world.skip()
    monkeypatch.setattr(sensors, "observe", lambda *args: replace(observe(*args), uptime=16.0))
    assert world.requested() == [ALL]
    assert world.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_lost_launch_is_replaced(world: World) -> None:
    world.script.set_lag("flights", 100, 200)
    run_id = world.launch(*ALL, status=dg.DagsterRunStatus.STARTING, ago=121)
    assert world.requested() == [ALL]
    assert world.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_runs_that_move_nothing_are_asked_for_ever_more_rarely(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.script.set_lag("flights", 100, 200)
    monkeypatch.setattr(sensors, "observe", lambda *args: replace(observe(*args), uptime=1e6))
    now = time.time()
    asked = []
    for second in range(0, 300, 5):
        monkeypatch.setattr(sensors, "time", Clock(now + second))
        if world.requested():
            asked.append(second)
    assert asked == [0, 5, 15, 35, 75, 155, 275]
    assert "6 runs" not in world.skip()
    monkeypatch.setattr(sensors, "time", Clock(now + 300))
    assert "flights lags by 100, but 7 runs did not move it; the next is requested in 95 s." in world.skip()
    world.script.set_lag("flights", 150, 200)
    assert world.requested() == [ALL], "progress ends the back-off"


class Clock:
    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        return self._now


def test_back_off_of_one_dataset_holds_no_other_back(world: World) -> None:
    world.script.set_lag("flights", 100, 200)
    world.tick()
    world.tick()
    assert "next is requested" in world.skip()
    world.script.set_lag("weather", 100, 101)
    assert world.requested() == [["weather", "airlines"]]


def test_live_run_does_not_cover_a_dataset_that_came_later(world: World) -> None:
    run_id = world.launch("flights", "weather", ago=3000)
    world.beat(run_id, "flights", "weather", ago=1)
    world.skip()
    world.script.set_lag("airlines", 0, 16)
    assert world.requested() == [["airlines"]]


def test_new_run_warms_what_nobody_covers(world: World) -> None:
    run_id = world.launch("flights", ago=3000)
    world.beat(run_id, "flights", ago=1)
    world.script.set_lag("airlines", 0, 16)
    assert world.requested() == [["weather", "airlines"]]


def test_dataset_that_failed_in_a_live_run_gets_a_run_of_its_own(world: World) -> None:
    run_id = world.launch(*ALL, ago=3000)
    world.beat(run_id, "flights", "airlines", ago=1)
    world.beat(run_id, "weather", ago=30, ended=True)
    world.script.set_lag("weather", 100, 200)
    assert world.requested() == [["weather"]]
    assert world.status(run_id) is STARTED


def test_drain_that_beats_counts_whatever_dagster_says(world: World) -> None:
    world.script.set_lag("weather", 100, 200)
    world.beat("a run that Dagster shows as failed", "weather", ago=2)
    assert "weather is being drained by run a run th, lag 100." in world.skip()


def test_missing_topic_is_a_sentence(world: World) -> None:
    world.script.set_lag("weather", 0, 0, topic_missing=True)
    assert "weather waits for its topic nyc.weather, which does not exist yet." in world.skip()
    world.script.set_lag("flights", 100, 200)
    assert world.requested() == [["flights", "airlines"]]


def test_condition_stops_its_dataset_only(world: World) -> None:
    condition = OffsetsExpired("weather", "40 records are gone. Go on with X.")
    world.script.set_lag("weather", 100, 200, condition=condition)
    reason = world.skip()
    assert "weather is stopped: OFFSETS_EXPIRED" in reason
    assert "Go on with X." in reason
    world.script.set_lag("flights", 100, 200)
    assert world.requested() == [["flights", "airlines"]]


def test_a_paused_dataset_is_not_drained_and_the_sensor_says_why(world: World) -> None:
    world.script.set_lag("weather", 100, 200)
    pause = Pause(datetime(2013, 1, 31, 6, tzinfo=UTC), "its station is repaired")
    world.script.lags["weather"] = replace(world.script.lags["weather"], pause=pause)
    assert "weather is paused since 2013-01-31 06:00:00 UTC: its station is repaired." in world.skip()
    world.script.set_lag("flights", 100, 200)
    assert world.requested() == [["flights", "airlines"]]


def test_a_paused_mart_is_not_requested_however_long_its_changes_wait(world: World) -> None:
    world.queue(ago=61)
    world.admin.execute(
        "UPDATE catalog.datasets SET paused_at = now(), paused_reason = 'wrong' WHERE name = %s", (DAILY.name,)
    )
    assert f"{DAILY.name} is paused: wrong." in world.skip()
    world.admin.execute("UPDATE catalog.datasets SET paused_at = NULL, paused_reason = NULL")
    assert world.requested() == [[DAILY.name]]


def test_broker_down_is_a_sentence(world: World) -> None:
    world.script.lag_error = KafkaConnectionError()
    assert "Kafka at 127.0.0.1:9 does not answer (KafkaConnectionError" in world.skip()


def test_broker_that_is_really_away_is_a_sentence(world: World) -> None:
    """Nobody listens on port 9, and the measurement is the real one."""
    context = dg.build_sensor_context(
        instance=world.instance, resources={"platform": Platform(world.platform.settings)}
    )
    result = world.sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert "Kafka at 127.0.0.1:9 does not answer" in str(result.skip_reason)


def test_database_down_is_a_sentence(world: World) -> None:
    nowhere = world.platform.settings.model_copy(
        update={"ingest_dsn": Settings(ingest_dsn="port=9 host=127.0.0.1").ingest_dsn}
    )
    world.platform.settings = nowhere
    assert "PostgreSQL does not answer" in world.skip()


def test_mistake_is_not_swallowed(world: World) -> None:
    world.script.lag_error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        world.tick()


def test_mart_is_requested_only_when_it_waits_too_long(world: World) -> None:
    world.queue(ago=20)
    world.skip()
    world.queue(ago=61)  # twice its cooldown of 15 s, and 30 s
    (request,) = world.tick().run_requests or []
    assert request.job_name == "build_marts"
    assert request.asset_selection == [asset_key(DAILY.name)]


def test_mart_whose_input_is_empty_is_not_requested(world: World) -> None:
    world.queue(ago=1000, flights_version=0)
    world.skip()


def test_mart_that_is_being_built_is_left_alone(world: World) -> None:
    world.queue(ago=100)
    run_id = world.launch(DAILY.name, job="build_marts", ago=3000)
    with world.platform.connect(mart_session(DAILY.name)):
        assert "punctuality_daily is being built" in world.skip()
        assert world.status(run_id) is STARTED
    wait_for(lambda: world.requested() == [[DAILY.name]])
    assert world.status(run_id) is dg.DagsterRunStatus.FAILURE


def wait_for(predicate: Callable[[], bool]) -> None:
    """A session is gone from pg_stat_activity a moment after it closed."""
    deadline = time.monotonic() + 5
    while not predicate():
        assert time.monotonic() < deadline


def test_mart_that_cannot_be_built_is_asked_for_ever_more_rarely(world: World) -> None:
    world.queue(ago=100)
    assert [bool(world.requested()) for _ in range(4)] == [True, True, False, False]
    assert "2 runs did not build it" in world.skip()


def test_blocked_mart_is_asked_for_once_an_hour_or_when_its_queue_grows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "observe", lambda *args: replace(observe(*args), uptime=1e6))
    world.queue(ago=100)
    world.admin.execute("UPDATE catalog.versions SET blocked_by = 'some_rule' WHERE dataset = %s", (DAILY.name,))
    now = time.time()

    def asked(at: int) -> bool:
        monkeypatch.setattr(sensors, "time", Clock(now + at))
        return bool(world.requested())

    assert [second for second in range(0, 12_000, 60) if asked(second)][-3:] == [2880, 5460, 9060]
    world.queue(ago=0)  # the oldest row is the same
    assert asked(12_000), "new data may have mended it"
    world.queue(ago=0)
    assert not asked(12_005), "however fast data come, the cooldown is kept"
    assert "is blocked by its rule some_rule; the next build is requested in 10 s" in world.skip()
    assert asked(12_015)


@pytest.mark.parametrize("error", [KafkaConnectionError(), RuntimeError("no broker describes nyc.weather")])
def test_kafka_error_is_a_sentence_and_marts_are_asked_for(world: World, error: Exception) -> None:
    world.script.lag_error = error
    assert f"does not answer ({type(error).__name__}" in world.skip()
    world.queue(ago=100)
    assert world.requested() == [[DAILY.name]]


def test_database_that_refuses_a_query_shows_no_detail(world: World) -> None:
    world.script.lag_error = refused(world.admin)
    with pytest.raises(DatabaseError) as caught:
        world.tick()
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_other_runs_are_none_of_its_business(world: World) -> None:
    run_id = world.instance.create_run_for_job(
        world.defs.resolve_job_def("check_sources"), asset_selection=frozenset()
    ).run_id
    write(world.instance, run_id, STARTED, 0)
    world.skip()
    assert world.status(run_id) is STARTED


def test_successor_is_requested_before_the_end_of_a_live_run_and_only_once(world: World) -> None:
    run_id = world.launch(*ALL, ago=3000)
    world.beat(run_id, *ALL, ends_in=31)
    world.skip()
    world.beat(run_id, *ALL, ends_in=29)
    assert world.requested() == [ALL], "nothing lags, but the next event shall not wait for a run to start"
    successor = world.launch(*ALL)
    world.skip()
    world.beat(successor, *ALL)  # it waits for its turn
    world.skip()
    assert world.status(run_id) is STARTED, "an old run is not dead because it has a successor"


def test_drains_leave_the_queue_before_builds(world: World) -> None:
    world.script.set_lag("flights", 100, 200)
    (request,) = world.tick().run_requests or []
    assert int(request.tags["dagster/priority"]) > 0


@pytest.fixture
def parallel(instance: dg.DagsterInstance, database: Any, script: Script) -> World:
    """Flights in two drains, weather in a group of its own, airlines in the default one."""
    settings = Settings(ingest_dsn=database.ingest_dsn, kafka_bootstrap="127.0.0.1:9")
    datasets = {
        **DATASETS,
        "flights": replace(FLIGHTS, parallelism=2),
        "weather": replace(DATASETS["weather"], drain_group="slow-ones"),
    }
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        world = World(instance, ScriptedPlatform(settings, script), admin, datasets)
        script.set_partitions("flights", {0: (10, 10), 1: (10, 10), 2: (10, 10)})
        yield world  # type: ignore[misc]


def shares(world: World) -> list[tuple[str, str | None]]:
    return [(request.job_name or "", request.tags.get("pista/share")) for request in world.tick().run_requests or []]


def test_each_group_and_each_share_gets_a_run_of_its_own(parallel: World) -> None:
    parallel.script.set_lag("weather", 0, 7)
    parallel.script.set_lag("airlines", 0, 7)
    parallel.script.set_partitions("flights", {0: (10, 20), 1: (10, 20), 2: (10, 25)})
    requests = parallel.tick().run_requests or []
    assert {(one.job_name, one.tags.get("pista/share"), one.tags["pista/lag"]) for one in requests} == {
        ("drain_slow_ones", None, "weather 7"),
        ("drain_default", None, "airlines 7"),
        ("drain_flights", "0/2", "flights 25"),
        ("drain_flights", "1/2", "flights 10"),
    }


def test_shares_live_and_die_alone(parallel: World) -> None:
    parallel.script.set_partitions("flights", {0: (10, 20), 1: (10, 20), 2: (10, 25)})
    first, second = (parallel.launch("flights", job="drain_flights", ago=90, share=Share(slot, 2)) for slot in (0, 1))
    parallel.beat(first, "flights", ago=1, share=Share(0, 2))
    parallel.beat(second, "flights", ago=1, share=Share(1, 2))
    reason = parallel.skip()
    assert f"flights 0/2 is being drained by run {first[:8]}, lag 25." in reason
    assert f"flights 1/2 is being drained by run {second[:8]}, lag 10." in reason
    parallel.beat(second, "flights", ago=16)
    assert shares(parallel) == [("drain_flights", "1/2")]
    assert parallel.status(first) is STARTED
    assert parallel.status(second) is dg.DagsterRunStatus.FAILURE


def test_back_off_is_a_shares_own(parallel: World) -> None:
    parallel.script.set_partitions("flights", {0: (10, 20), 1: (10, 10), 2: (10, 10)})
    assert [shares(parallel) for _ in range(3)] == [[("drain_flights", "0/2")], [("drain_flights", "0/2")], []]
    parallel.script.set_partitions("flights", {0: (10, 20), 1: (10, 11), 2: (10, 10)})
    assert shares(parallel) == [("drain_flights", "1/2")]


def test_run_of_before_the_parallelism_covers_every_share_until_it_ends(parallel: World) -> None:
    parallel.script.set_partitions("flights", {0: (10, 20), 1: (10, 20), 2: (10, 25)})
    old = parallel.launch("flights", job="drain_flights", ago=90)
    parallel.beat(old, "flights", ends_in=600)
    parallel.skip()
    parallel.beat(old, "flights", ends_in=20)
    assert shares(parallel) == [("drain_flights", "0/2"), ("drain_flights", "1/2")]


def test_condition_of_one_share_stops_that_share_only(parallel: World) -> None:
    parallel.script.set_partitions("flights", {0: (10, 20), 1: (10, 20)})
    condition = OffsetsExpired("flights", "partition 1 lost 3 offsets.")
    lag = parallel.script.lags["flights"]
    parallel.script.lags["flights"] = replace(
        lag, condition=condition, by_share={Share(0, 2): None, Share(1, 2): condition}
    )
    assert shares(parallel) == [("drain_flights", "0/2")]
