"""A drain's successor takes over without a pause, without reading anything twice, and without failing a run."""

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from kafka import KafkaProducer

from pista.ingest.drain import DrainReport, drain

from .conftest import Lab, event

Eventually = Callable[..., Any]


class Drains:
    """Drains that take part in hand-overs, a thread each."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._pool = ThreadPoolExecutor()
        self.stop = threading.Event()
        self.begun: list[str] = []

    def start(self, run_id: str, **overrides: Any) -> "Future[DrainReport]":
        return self._pool.submit(
            drain,
            self._lab.dataset,
            self._lab.settings.model_copy(update=overrides),
            run_id=run_id,
            should_stop=self.stop.is_set,
            on_batch=lambda _: None,
            hand_over=True,
            on_begin=lambda: self.begun.append(run_id),
        )


def pretend(lab: Lab, run_id: str, started: str, ends: str) -> None:
    """A drain of another process, as the database knows it."""
    lab.execute(
        f"INSERT INTO ingest.drains (run_id, dataset, started_at, ends_at) VALUES (%s, 'legs', {started}, {ends})",
        run_id,
    )


def test_a_hand_over_shows_neither_in_the_latency_nor_in_what_is_read(lab: Lab, eventually: Eventually) -> None:
    lab.produce([event("warm")])
    lab.drain()
    drains = Drains(lab)
    old = drains.start("old", drain_max_seconds=10.0)
    alive = "SELECT 1 FROM ingest.drains WHERE run_id = %s"
    eventually(lambda: lab.query(alive + " AND ends_at IS NOT NULL", "old"))
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka_bootstrap, acks="all", linger_ms=0)
    sent, began, new = 1, time.monotonic(), None
    while sent < 3000:  # 200 a second, for 15 seconds
        key, value = event(f"k{sent % 300}", pax=sent)
        producer.send(lab.dataset.topic, key=key, value=value)
        sent += 1
        if sent == 600:
            new = drains.start("new", drain_max_seconds=60.0)
        time.sleep(max(0.0, began + sent / 200 - time.monotonic()))
    producer.flush()
    producer.close()
    eventually(lambda: lab.value("SELECT count(*) FROM raw.legs") == sent)
    drains.stop.set()
    assert new is not None
    reports = [old.result(30), new.result(30)]

    assert [report.outcome for report in reports] == ["time_up", "stopped"]
    assert drains.begun == ["old", "new"]
    assert all(report.records > 300 for report in reports)
    assert sum(report.records for report in reports) == sent - 1, "something was read and not committed"
    (first, second) = lab.query(
        "SELECT started_at, ended_at FROM ingest.drains WHERE run_id IN ('old', 'new') ORDER BY started_at"
    )
    assert second[0] < first[1], "at every moment there is a drain that lives"
    batches = lab.query(
        "SELECT latency_ms, committed_at FROM ingest.batches WHERE run_id IN ('old', 'new') AND latency_ms IS NOT NULL"
    )
    near = [latency for latency, at in batches if abs(at - first[1]) < timedelta(seconds=1.5)]
    far = sorted(latency for latency, at in batches if abs(at - first[1]) >= timedelta(seconds=1.5))
    assert near, "nothing was committed about the hand-over"
    assert max(near) < 3 * far[int(len(far) * 0.99)] + 10 * statistics.median(far), (near, far)


def test_an_old_drain_leaves_at_the_first_lost_race_once_its_successor_lives(lab: Lab, eventually: Eventually) -> None:
    lab.produce([event("a"), event("b"), event("c"), event("d")], partition=0)
    drains = Drains(lab)
    old = drains.start("old")
    eventually(lambda: lab.value("SELECT count(*) FROM raw.legs") == 4)
    pretend(lab, "young", started="now() + interval '1 second'", ends="NULL")
    # what a lost race looks like: the ledger is not where this drain left it
    lab.execute("UPDATE ingest.ledger SET next_offset = 3 WHERE partition = 0")
    lab.produce([event("e")], partition=0)
    assert old.result(30).outcome == "superseded"
    assert lab.value("SELECT count(*) FROM raw.legs") == 4


def test_a_drain_beside_one_that_stays_leaves_at_once(lab: Lab) -> None:
    lab.produce([event("a")])
    pretend(lab, "staying", started="now() - interval '1 minute'", ends="now() + interval '50 minutes'")
    drains = Drains(lab)
    assert drains.start("another").result(30).outcome == "superfluous"
    assert drains.begun == []


def test_a_drain_that_no_longer_beats_is_not_waited_for(lab: Lab) -> None:
    lab.produce([event("a")])
    pretend(lab, "dead", started="now() - interval '1 minute'", ends="now() + interval '20 seconds'")
    lab.execute("UPDATE ingest.drains SET beat_at = now() - interval '7 seconds'")
    assert Drains(lab).start("another", drain_idle_seconds=0.1).result(30).loaded == 1
