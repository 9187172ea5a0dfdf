"""Several drains of one dataset at once, each with partitions of its own."""

import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from pista.ingest.conditions import LogTruncated, TopicRecreated
from pista.ingest.drain import DrainReport, drain
from pista.ingest.lag import measure_lag
from pista.ingest.ledger import open_partitions, read_ledgers
from pista.ingest.share import Share
from pista.kafka.client import client_options
from pista.kafka.topics import describe_topics
from pista.warehouse.connection import connect

from .conftest import Lab, event

PARTITIONS, GROWN, SHARES = 6, 9, 3
Create = Callable[..., str]
Eventually = Callable[..., Any]


def use_topic(lab: Lab, create_topic: Create, partitions: int = PARTITIONS) -> None:
    lab.dataset = replace(lab.dataset, topic=create_topic(partitions), contract_hash="parallel", parallelism=SHARES)
    lab.migrate()


def start(lab: Lab, path: Path, run: str, share: Share, **overrides: Any) -> "subprocess.Popen[str]":
    settings = lab.settings.model_copy(update={"batch_max_records": 300, "drain_idle_seconds": 3.0, **overrides})
    path.write_bytes(pickle.dumps((lab.dataset, settings)))
    program = Path(__file__).with_name("drain_process.py")
    return subprocess.Popen(
        [sys.executable, str(program), str(path), run, str(share)], stdout=subprocess.PIPE, text=True
    )


class Producer(threading.Thread):
    """Publishes every key many times over all partitions that it knows of, until told to stop; counts them."""

    def __init__(self, lab: Lab, keys: int = 500) -> None:
        super().__init__(daemon=True)
        self._lab, self._keys = lab, keys
        self.stop = threading.Event()
        self.sent = 0

    def run(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._lab.settings.kafka_bootstrap, acks="all", linger_ms=5, metadata_max_age_ms=500
        )
        futures = []
        while not self.stop.wait(0.01):
            for _ in range(40):
                key, value = event(f"k{self.sent % self._keys}", pax=self.sent // self._keys)
                futures.append(producer.send(self._lab.dataset.topic, key=key, value=value))
                self.sent += 1
        producer.flush()
        for future in futures:
            future.get(timeout=10)
        producer.close()


def test_three_drains_race_with_a_producer_and_growth_and_one_is_killed(
    lab: Lab, create_topic: Create, tmp_path: Path, eventually: Eventually
) -> None:
    use_topic(lab, create_topic)
    producer = Producer(lab)
    producer.start()
    processes = [start(lab, tmp_path / f"d{slot}", f"run{slot}", Share(slot, SHARES)) for slot in range(SHARES)]
    batches = "SELECT count(*) FROM ingest.batches WHERE run_id = %s"
    for slot in range(SHARES):
        eventually(lambda slot=slot: lab.value(batches, f"run{slot}") >= 2, 60)
    processes[1].kill()
    processes[1].communicate()
    admin = KafkaAdminClient(bootstrap_servers=lab.settings.kafka_bootstrap)
    admin.create_partitions({lab.dataset.topic: GROWN})
    admin.close()
    ledger = "SELECT array_agg(partition ORDER BY partition) FROM ingest.ledger"
    others = [p for p in range(GROWN) if p < PARTITIONS or p % SHARES != 1]
    eventually(lambda: lab.value(ledger) == others, 60)
    before = lab.value("SELECT max(version) FROM catalog.versions WHERE dataset = 'legs'")
    eventually(lambda: lab.value("SELECT version FROM catalog.versions WHERE dataset = 'legs'") > before, 60)
    # nobody took up what was the killed one's
    assert lab.value("SELECT count(*) FROM ingest.ranges WHERE partition = 7") == 0
    processes[1] = start(lab, tmp_path / "d1", "takeover", Share(1, SHARES))
    eventually(lambda: lab.value(batches, "takeover") >= 2, 60)
    producer.stop.set()
    producer.join()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert all("ended idle" in output for output in outputs), outputs

    assert lab.value('SELECT count(*) FROM (SELECT DISTINCT partition, "offset" FROM raw.legs) d') == producer.sent
    assert lab.value("SELECT count(*) FROM raw.legs") == producer.sent
    ranges = lab.query("SELECT partition, start_offset, end_offset FROM ingest.ranges ORDER BY partition, start_offset")
    for (partition, _, end), (following, start_offset, _) in itertools.pairwise(ranges):
        assert partition != following or end == start_offset, "committed ranges overlap or leave a gap"
    for slot, runs in enumerate((["run0"], ["run1", "takeover"], ["run2"])):
        read = lab.query(
            """
            SELECT DISTINCT r.partition %% 3 FROM ingest.ranges r JOIN ingest.batches b ON b.id = r.batch_id
            WHERE b.run_id = ANY(%s)
            """,
            runs,
        )
        assert read == [(slot,)], "a drain reads its own partitions only"
    assert lab.value("SELECT count(*) FROM curated.legs") == lab.value(
        "SELECT row_count FROM catalog.versions WHERE dataset = 'legs'"
    )
    # the row of each key is that of its newest event, over all partitions
    assert (
        lab.query(
            """
            SELECT id, pax FROM curated.legs
            EXCEPT
            (SELECT DISTINCT ON (key) convert_from(key, 'UTF8'), (convert_from(value, 'UTF8')::jsonb ->> 'pax')::int
            FROM raw.legs ORDER BY key, epoch DESC, order_time DESC, partition DESC, "offset" DESC)
            """
        )
        == []
    )
    lab.reconcile()


def test_shares_do_not_lose_races_against_each_other(lab: Lab, create_topic: Create) -> None:
    use_topic(lab, create_topic)
    lab.produce(event(f"k{i % 700}", pax=i) for i in range(6000))

    def run(slot: int) -> DrainReport:
        settings = lab.settings.model_copy(update={"drain_idle_seconds": 0.5, "batch_max_records": 100})
        return drain(
            lab.dataset,
            settings,
            run_id=f"run{slot}",
            should_stop=lambda: False,
            on_batch=lambda _: None,
            share=Share(slot, SHARES),
        )

    with ThreadPoolExecutor(SHARES) as pool:
        reports = list(pool.map(run, range(SHARES)))
    assert sum(report.records for report in reports) == 6000, "read twice, or committed by nobody"
    assert all(report.records for report in reports)
    assert lab.value("SELECT count(*) FROM raw.legs") == 6000
    slots = lab.query("SELECT slot, slots, outcome FROM ingest.drains ORDER BY slot")
    assert slots == [(0, 3, "idle"), (1, 3, "idle"), (2, 3, "idle")]
    lab.reconcile()


def test_the_first_share_opens_the_whole_topic_and_growth_is_its_owners(lab: Lab, create_topic: Create) -> None:
    use_topic(lab, create_topic)
    topic = describe_topics(client_options(lab.settings), [str(lab.dataset.topic)])[str(lab.dataset.topic)]
    assert topic is not None
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "pista tests") as connection:  # type: ignore[union-attr]
        ledger = open_partitions(connection, lab.dataset, topic, {}, Share(1, 3), first=topic.beginning)
        assert sorted(ledger) == list(range(6)), "the others would take theirs for partitions that came later"
        grown = replace(topic, beginning=dict.fromkeys(range(9), 0), end=dict.fromkeys(range(9), 0))
        open_partitions(connection, lab.dataset, grown, ledger, Share(1, 3), first={})
        assert sorted(read_ledgers(connection, ["legs"])["legs"]) == [0, 1, 2, 3, 4, 5, 7]


def test_a_share_without_partitions_waits_until_it_is_idle(lab: Lab, create_topic: Create) -> None:
    use_topic(lab, create_topic, partitions=1)
    lab.produce([event("a")])
    assert lab.drain(share=Share(1, 3)).outcome == "idle"
    assert lab.value("SELECT count(*) FROM raw.legs") == 0
    assert lab.drain(share=Share(0, 3)).loaded == 1


def test_a_share_is_stopped_by_its_own_partitions_trouble_and_by_the_topics(lab: Lab, create_topic: Create) -> None:
    use_topic(lab, create_topic, partitions=2)
    lab.dataset = replace(lab.dataset, parallelism=2)
    lab.produce([event("a"), event("b")], partition=0)
    lab.produce([event("c"), event("d")], partition=1)
    lab.drain()
    lab.execute("UPDATE ingest.ledger SET next_offset = 9 WHERE partition = 1")
    lab.produce([event("e")], partition=0)
    assert lab.drain(share=Share(0, 2)).loaded == 1
    with pytest.raises(LogTruncated):
        lab.drain(share=Share(1, 2))
    conditions = measure_lag([lab.dataset], lab.settings)["legs"].by_share
    assert conditions[Share(0, 2)] is None
    assert isinstance(conditions[Share(1, 2)], LogTruncated)
    lab.execute("UPDATE ingest.ledger SET topic_id = 'another'")
    for slot in (0, 1):
        with pytest.raises(TopicRecreated):
            lab.drain(share=Share(slot, 2))
