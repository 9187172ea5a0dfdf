"""What must never pass in silence stops its dataset by name; what is harmless does not."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from pista.contracts.dataset import Dataset, Kind, MartInput
from pista.ingest import again
from pista.ingest.conditions import (
    ContractNotApplied,
    LogTruncated,
    OffsetsExpired,
    PartitionRemoved,
    QuarantineFlood,
    TopicMissing,
    TopicRecreated,
)
from pista.ingest.drain import DrainReport, drain
from pista.ingest.heartbeat import Heartbeat
from pista.ingest.lag import measure_lag
from pista.ingest.ledger import LostRaceError
from pista.ingest.share import WHOLE
from pista.warehouse.connection import connect
from pista.warehouse.marts import build_mart

from .conftest import Lab, event


@pytest.fixture
def admin(kafka_server: str) -> KafkaAdminClient:
    client = KafkaAdminClient(bootstrap_servers=kafka_server)
    yield client
    client.close()


def test_a_recreated_topic_is_not_taken_for_the_old_one(
    lab: Lab, admin: KafkaAdminClient, create_topic: Callable[..., str], eventually: Callable[..., object]
) -> None:
    lab.produce([event("a"), event("b")])
    lab.drain()
    admin.delete_topics([lab.dataset.topic])
    eventually(lambda: lab.dataset.topic not in {t["name"] for t in admin.describe_topics()})
    with pytest.raises(TopicMissing, match="does not exist any more"):
        lab.drain()
    admin.create_topics({lab.dataset.topic: {"num_partitions": 2}}, wait_for_metadata=True)
    lab.produce([event("c"), event("d"), event("e")])
    with pytest.raises(TopicRecreated, match=r"TOPIC_RECREATED: dataset legs: topic .* was deleted and made anew"):
        lab.drain()
    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("a",), ("b",)]


def test_records_that_expired_before_they_were_read_are_counted(lab: Lab, admin: KafkaAdminClient) -> None:
    lab.produce([event(str(i)) for i in range(10)], partition=0)
    lab.drain()
    lab.produce([event(str(i)) for i in range(10)], partition=0)
    admin.delete_records({TopicPartition(lab.dataset.topic, 0): 17})
    with pytest.raises(OffsetsExpired, match="lost the 7 offsets 10 to 16"):
        lab.drain()
    condition = measure_lag([lab.dataset], lab.settings)["legs"].condition
    assert condition is not None
    assert condition.code == "OFFSETS_EXPIRED"


@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ("UPDATE ingest.ledger SET next_offset = 99 WHERE partition = 0", LogTruncated),
        ("UPDATE ingest.ledger SET partition = 7 WHERE partition = 1", PartitionRemoved),
    ],
)
def test_a_broker_that_has_less_than_was_read_is_noticed(lab: Lab, change: str, condition: type[Exception]) -> None:
    lab.produce([event("a"), event("b")])
    lab.drain()
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute(change.encode())
    with pytest.raises(condition):
        lab.drain()


def test_a_topic_may_grow_and_move_keys(lab: Lab, admin: KafkaAdminClient) -> None:
    lab.produce([event("a", pax=1)], partition=0)
    lab.drain()
    admin.create_partitions({lab.dataset.topic: 3})
    lab.produce([event("a", pax=2), event("b")], partition=2)
    lab.drain()
    assert lab.query("SELECT id, pax, _partition FROM curated.legs ORDER BY id") == [("a", 2, 2), ("b", None, 2)]
    lab.reconcile()


def test_aborted_transactions_and_markers_are_neither_rows_nor_lag(lab: Lab) -> None:
    producer = KafkaProducer(
        bootstrap_servers=lab.settings.kafka_bootstrap, transactional_id=f"t-{lab.dataset.topic}", acks="all"
    )
    producer.init_transactions()
    for name, end in (("kept", producer.commit_transaction), ("aborted", producer.abort_transaction)):
        producer.begin_transaction()
        key, value = event(name)
        producer.send(lab.dataset.topic, key=key, value=value, partition=0).get(timeout=10)
        end()
    lab.drain()
    assert lab.query("SELECT id FROM curated.legs") == [("kept",)]
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 0
    producer.begin_transaction()
    key, value = event("open")
    producer.send(lab.dataset.topic, key=key, value=value, partition=0).get(timeout=10)
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 0
    producer.abort_transaction()
    producer.close()
    lab.drain()
    lab.reconcile()


def test_two_drains_at_once_share_the_work_without_doubling_it(lab: Lab) -> None:
    lab.produce([event(str(i)) for i in range(5_000)])
    results: list[DrainReport | Exception] = []

    def work() -> None:
        try:
            results.append(other.drain(batch_max_records=200))
        except Exception as error:
            results.append(error)

    other = replace(lab)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # one may have lost three races in a row; anything else is a fault
    assert [r for r in results if not isinstance(r, DrainReport | LostRaceError)] == []
    lab.drain()
    assert lab.value("SELECT count(*) FROM raw.legs") == 5_000
    assert lab.value("SELECT count(*) FROM curated.legs") == 5_000
    lab.reconcile()


def test_a_replay_adds_nothing_that_is_there_and_brings_back_what_is_not(lab: Lab) -> None:
    lab.produce([event("a", pax=1), event("b"), event("a", pax=2)], partition=0)
    lab.produce([(b"b", None)], partition=0)
    lab.drain()
    with psycopg.connect(lab.admin_dsn) as connection:  # somebody lost a row by hand
        connection.execute("DELETE FROM curated.legs")
        connection.execute('DELETE FROM raw.legs WHERE "offset" = 2')
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        for _ in range(2):
            list(again.replay(connection, lab.dataset, lab.settings, {0: (0, 4)}, run_id="replay"))
    assert lab.query("SELECT id, pax FROM curated.legs") == [("a", 2)]
    assert lab.value("SELECT count(*) FROM raw.legs") == 4
    lab.reconcile()


def test_what_was_never_drained_cannot_be_replayed(lab: Lab) -> None:
    lab.produce([event("a")], partition=0)
    lab.drain()
    with (
        connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection,  # type: ignore[union-attr]
        pytest.raises(ValueError, match=r"cannot replay \[0, 5\); offsets up to 1 were drained"),
    ):
        list(again.replay(connection, lab.dataset, lab.settings, {0: (0, 5)}, run_id="replay"))


def test_a_contract_that_was_changed_and_not_applied_is_a_condition(lab: Lab) -> None:
    lab.produce([event("a")])
    lab.dataset = replace(lab.dataset, contract_hash="edited")
    with pytest.raises(ContractNotApplied, match="Run `pista apply`"):
        lab.drain()
    assert lab.value("SELECT count(*) FROM curated.legs") == 0


def test_a_contract_that_changes_meanwhile_ends_the_drain_without_a_row_under_the_old_one(lab: Lab) -> None:
    lab.produce([event(str(i)) for i in range(1_000)])
    old = lab.dataset

    def migrate_once(_report: object) -> None:
        lab.dataset = replace(old, contract_hash="two")
        lab.migrate()

    settings = lab.settings.model_copy(update={"drain_idle_seconds": 0.1, "batch_max_records": 100})
    report = drain(old, settings, run_id="r", should_stop=lambda: False, on_batch=migrate_once)
    assert report.outcome == "contract_changed"
    assert 0 < lab.value("SELECT count(*) FROM curated.legs") < 1_000
    lab.drain()
    assert lab.value("SELECT count(*) FROM curated.legs") == 1_000
    lab.reconcile()


def test_a_drain_that_was_taken_for_dead_comes_back_by_its_next_beat(
    lab: Lab, eventually: Callable[..., object]
) -> None:
    dsn = lab.settings.ingest_dsn.get_secret_value()  # type: ignore[union-attr]
    with Heartbeat(dsn, "legs", WHOLE, "asleep"):
        with psycopg.connect(lab.admin_dsn) as connection:
            connection.execute("UPDATE ingest.drains SET ended_at = now(), outcome = 'dead'")
        eventually(lambda: lab.query("SELECT 1 FROM ingest.drains WHERE ended_at IS NULL"), 10)


def test_a_batch_that_postgresql_refuses_as_a_whole_is_a_flood_and_nothing_is_lost(lab: Lab) -> None:
    lab.produce([event(secrets.token_urlsafe(9_000)) for _ in range(510)], partition=0)
    with pytest.raises(QuarantineFlood, match="more than 500 rows of one batch"):
        lab.drain()
    assert lab.value("SELECT count(*) FROM ingest.quarantine") == 0
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 510


def test_a_replay_under_a_stricter_contract_does_not_count_a_record_twice(lab: Lab) -> None:
    lab.produce([event("a", pax=1)], partition=0)
    lab.drain()
    pax = replace(lab.dataset.columns[2], minimum=5)
    columns = (*lab.dataset.columns[:2], pax, *lab.dataset.columns[3:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="strict")
    lab.migrate()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        list(again.replay(connection, lab.dataset, lab.settings, {0: (0, 1)}, run_id="replay"))
    lab.reconcile()


def test_lag_counts_what_is_to_come_and_stamps_what_is_complete(lab: Lab) -> None:
    lab.produce([event("a"), event("b")], partition=1)
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 2
    assert lab.value("SELECT as_of FROM catalog.versions WHERE dataset = 'legs'") is None
    lab.drain()
    assert measure_lag([lab.dataset], lab.settings)["legs"].partitions == {0: (0, 0), 1: (2, 2)}
    assert lab.value("SELECT now() - as_of < '1 min' FROM catalog.versions WHERE dataset = 'legs'")


def test_a_mart_without_changes_is_as_complete_as_its_inputs(lab: Lab) -> None:
    columns = (replace(lab.dataset.columns[3], required=True),)
    mart = Dataset(
        "days",
        "1",
        Kind.MART,
        columns,
        ("day",),
        slice_column="day",
        inputs=(MartInput("legs", "day"),),
        transform="SELECT DISTINCT day FROM legs",
    )
    lab.migrate(mart)
    lab.produce([event("a")])
    lab.drain()
    stamp = "SELECT as_of FROM catalog.versions WHERE dataset = 'days'"
    measure_lag([lab.dataset], lab.settings)
    assert lab.value(stamp) is None, "a mart that was never built cannot be complete"
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        build_mart(connection, mart)
    measure_lag([lab.dataset], lab.settings)
    complete = lab.value(stamp)
    assert complete == lab.value("SELECT as_of FROM catalog.versions WHERE dataset = 'legs'")
    lab.produce([event("b")])
    lab.drain()
    measure_lag([lab.dataset], lab.settings)
    assert lab.value(stamp) == complete, "a change waits to be built"
