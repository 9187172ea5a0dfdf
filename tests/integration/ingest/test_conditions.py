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
from pista.kafka.errors import AccessError, ClientError
from pista.kafka.reader import Reader
from pista.warehouse.connection import connect
from pista.warehouse.marts import build_mart

from .conftest import Command, Lab, event


@pytest.fixture
def admin(kafka_server: str) -> KafkaAdminClient:
    client = KafkaAdminClient(bootstrap_servers=kafka_server)
    yield client
    client.close()


def produce_at(lab: Lab, events: list[tuple[int, bytes, bytes]]) -> None:
    """Into partition 0, each at a time of its own in milliseconds."""
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka_bootstrap, acks="all")
    for time, key, value in events:
        producer.send(lab.dataset.topic, key=key, value=value, partition=0, timestamp_ms=1_400_000_000_000 + time)
    producer.flush()
    producer.close()


def test_a_recreated_topic_is_not_taken_for_the_old_one_and_continues_it_by_command(
    lab: Lab, admin: KafkaAdminClient, eventually: Callable[..., object], command: Command
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
    refused = command("offsets", "accept-loss", "legs", "--reason", "x", "--yes")
    assert refused.exit_code == 1
    assert "pista offsets reset legs --to earliest" in refused.output
    done = command("offsets", "reset", "legs", "--to", "earliest", "--reason", "moved to new brokers", "--yes")
    assert done.exit_code == 0, done.output
    # an event of the new topic is newer than one of the old, whatever its offset and its clock
    lab.produce([event("a", state="off")], partition=0)
    lab.drain()
    assert lab.query("SELECT id, state, _epoch FROM curated.legs ORDER BY id") == [
        ("a", "off", 1), ("b", "on", 0), ("c", "on", 1), ("d", "on", 1), ("e", "on", 1),
    ]  # fmt: skip
    assert lab.value("SELECT count(*) FROM raw.legs") == 6
    assert lab.query("SELECT command, dataset, detail ->> 'condition', reason FROM ingest.audit") == [
        ("offsets reset", "legs", "TOPIC_RECREATED", "moved to new brokers")
    ]


def test_records_that_expired_before_they_were_read_are_counted_and_given_up_by_command(
    lab: Lab, admin: KafkaAdminClient, command: Command
) -> None:
    lab.produce([event(str(i)) for i in range(10)], partition=0)
    lab.drain()
    lab.produce([event(str(i)) for i in range(10)], partition=0)
    admin.delete_records({TopicPartition(lab.dataset.topic, 0): 17})
    with pytest.raises(OffsetsExpired, match="lost the 7 offsets 10 to 16"):
        lab.drain()
    condition = measure_lag([lab.dataset], lab.settings)["legs"].condition
    assert condition is not None
    assert condition.code == "OFFSETS_EXPIRED"
    assert "pista offsets accept-loss legs" in str(condition)
    assert command("offsets", "accept-loss", "legs", "--reason", "x", given="n\n").exit_code == 1
    assert lab.value("SELECT next_offset FROM ingest.ledger WHERE partition = 0") == 10
    done = command("offsets", "accept-loss", "legs", "--reason", "nobody was on call", given="y\n")
    assert "partition 0: 10 -> 17, 7 offsets are given up unread" in done.output
    assert lab.drain().loaded == 3
    assert lab.value("SELECT count(*) FROM raw.legs") == 13
    lab.reconcile()
    assert lab.query("SELECT detail ->> 'lost', detail #>> '{partitions,0,to}' FROM ingest.audit") == [("7", "[0, 17]")]
    assert command("offsets", "accept-loss", "legs", "--reason", "again", "--yes").exit_code == 1


def test_a_log_that_lost_its_end_and_grew_again_goes_on_where_it_differs(
    lab: Lab, admin: KafkaAdminClient, eventually: Callable[..., object], command: Command
) -> None:
    common = [(i, *event(f"common{i}")) for i in range(4)]
    produce_at(lab, [*common, *((100 + i, *event(f"lost{i}")) for i in range(6))])
    lab.produce([event("other")], partition=1)
    lab.drain()
    # another history under the same name, which the ledger is made to take for the same topic
    admin.delete_topics([lab.dataset.topic])
    eventually(lambda: lab.dataset.topic not in {t["name"] for t in admin.describe_topics()})
    admin.create_topics({lab.dataset.topic: {"num_partitions": 2}}, wait_for_metadata=True)
    produce_at(lab, [*common, (200, *event("common0", state="off")), (201, *event("new"))])
    lab.produce([event("other")], partition=1)
    (topic,) = admin.describe_topics([lab.dataset.topic])
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute("UPDATE ingest.ledger SET topic_id = %s", (str(topic["topic_id"]),))
    with pytest.raises(LogTruncated, match=r"ends at 6, but was read up to 10.*accept-loss legs"):
        lab.drain()
    done = command("offsets", "accept-loss", "legs", "--reason", "unclean election", "--yes")
    assert "another from offset 4 on" in done.output
    assert lab.query("SELECT partition, epoch, next_offset, epoch_offset FROM ingest.ledger ORDER BY 1") == [
        (0, 1, 4, 4), (1, 1, 1, 1),
    ]  # fmt: skip
    lab.drain()
    assert lab.value("SELECT count(*) FROM raw.legs") == 13
    assert lab.value("SELECT count(*) FROM curated.legs") == 12
    assert lab.value("SELECT state FROM curated.legs WHERE id = 'common0'") == "off"
    refused = command("offsets", "reset", "legs", "--to", "0:2", "--reason", "x", "--yes")
    assert "offsets before 4 were loaded under an earlier epoch" in refused.output


def test_a_cut_log_that_raw_cannot_tell_from_the_one_of_before_goes_on_at_its_end(lab: Lab, command: Command) -> None:
    lab.produce([event("a"), event("b")], partition=0)
    lab.drain()
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute("UPDATE ingest.ledger SET next_offset = 99 WHERE partition = 0")
        connection.execute("DELETE FROM raw.legs")
    done = command("offsets", "accept-loss", "legs", "--reason", "x", "--yes")
    assert "raw holds nothing to compare the log with" in done.output
    assert lab.query("SELECT epoch, next_offset FROM ingest.ledger WHERE partition = 0") == [(1, 2)]
    lab.produce([event("a", state="off")], partition=0)
    lab.drain()
    assert lab.value("SELECT state FROM curated.legs WHERE id = 'a'") == "off"


def test_a_cut_log_can_be_read_from_an_offset_that_somebody_knows(lab: Lab, command: Command) -> None:
    lab.produce([event("a"), event("b")], partition=0)
    lab.drain()
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute("UPDATE ingest.ledger SET next_offset = 99 WHERE partition = 0")
        connection.execute("DELETE FROM raw.legs")
    done = command("offsets", "reset", "legs", "--to", "0:1", "--reason", "x", "--yes")
    assert "partition 0: 99 -> 1, epoch 1" in done.output
    assert lab.drain().loaded == 1


def test_a_partition_that_is_gone_is_closed_by_command(lab: Lab, command: Command) -> None:
    lab.produce([event("a"), event("b")], partition=0)
    lab.drain()
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute(
            "INSERT INTO ingest.ledger SELECT dataset, 7, topic, topic_id, epoch, 5 FROM ingest.ledger LIMIT 1"
        )
    with pytest.raises(PartitionRemoved, match=r"partition 7 .* is gone"):
        lab.drain()
    done = command("offsets", "accept-loss", "legs", "--reason", "x", "--yes")
    assert "partition 7: closed at 5" in done.output
    lab.produce([event("a", state="off")], partition=0)
    assert lab.drain().loaded == 1
    assert lab.query("SELECT id, state FROM curated.legs ORDER BY id") == [("a", "off"), ("b", "on")]
    assert lab.query("SELECT DISTINCT epoch FROM ingest.ledger") == [(1,)], "a partition 7 that comes back is another"
    assert lab.value("SELECT count(*) FROM raw.legs") == 3


def test_a_flood_of_quarantine_stops_until_it_is_accepted_once(lab: Lab, command: Command) -> None:
    lab.produce([event("good"), *((b"k", b"{") for _ in range(150))], partition=0)
    with pytest.raises(QuarantineFlood, match="150 of the 151 records of a batch would go to quarantine"):
        lab.drain()
    assert lab.value("SELECT count(*) FROM ingest.quarantine") == 0
    condition = measure_lag([lab.dataset], lab.settings)["legs"].condition
    assert isinstance(condition, QuarantineFlood), "the sensor must not start the same batch for ever"
    assert "150 of the 151" in command("offsets", "show", "legs").output
    done = command("offsets", "accept-loss", "legs", "--reason", "a test client went wild", "--yes")
    assert done.exit_code == 0, done.output
    assert measure_lag([lab.dataset], lab.settings)["legs"].condition is None
    report = lab.drain()
    assert (report.loaded, report.quarantined) == (1, 150)
    lab.reconcile()
    lab.produce([(b"k", b"{") for _ in range(150)], partition=0)
    with pytest.raises(QuarantineFlood):
        lab.drain()
    assert command("offsets", "accept-loss", "legs", "--reason", "x", "--yes").exit_code == 0


def test_a_mended_contract_ends_a_flood(lab: Lab) -> None:
    lab.produce([event(str(i), state="new") for i in range(150)], partition=0)
    with pytest.raises(QuarantineFlood):
        lab.drain()
    state = replace(lab.dataset.columns[1], enum=("on", "off", "new"))
    lab.dataset = replace(
        lab.dataset, columns=(lab.dataset.columns[0], state, *lab.dataset.columns[2:]), contract_hash="two"
    )
    lab.migrate()
    assert measure_lag([lab.dataset], lab.settings)["legs"].condition is None
    assert lab.drain().loaded == 150
    assert lab.value("SELECT count(*) FROM ingest.floods") == 0


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
        pytest.raises(again.ReplayError, match=r"cannot replay \[0, 5\); offsets up to 1 were drained"),
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


def test_a_drain_that_hangs_beats_no_more_until_it_goes_on(
    lab: Lab, eventually: Callable[..., object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pista.ingest.heartbeat.INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("pista.ingest.heartbeat.HANG_SECONDS", 0.0)
    beat = "SELECT beat_at FROM ingest.drains"
    dsn = lab.settings.ingest_dsn.get_secret_value()  # type: ignore[union-attr]
    with Heartbeat(dsn, "legs", WHOLE, "hangs") as heartbeat:
        first = lab.value(beat)
        eventually(lambda: caplog.text.count("drain of legs hangs") > 3)
        assert lab.value(beat) == first
        monkeypatch.setattr("pista.ingest.heartbeat.HANG_SECONDS", 60.0)
        heartbeat.progress()
        eventually(lambda: lab.value(beat) > first)


def test_drains_end_where_a_call_hangs_in_the_process(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.produce([event("a")])
    monkeypatch.setattr("pista.ingest.drain.hung", lambda: ["reading (topic nyc.weather)"])
    assert lab.drain().outcome == "stopped"
    monkeypatch.undo()
    assert lab.drain().loaded == 1


def test_a_drain_that_is_not_let_in_does_not_try_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.produce([event("a")])
    asked = []

    def refuse(*_: object, **__: object) -> None:
        asked.append(True)
        raise AccessError("topic authorization failed")

    monkeypatch.setattr("pista.kafka.reader.Reader.read", refuse)
    with pytest.raises(AccessError):
        lab.drain()
    assert len(asked) == 1


def test_a_batch_that_postgresql_refuses_as_a_whole_is_a_flood_and_nothing_is_lost(lab: Lab) -> None:
    lab.produce([event(secrets.token_urlsafe(9_000)) for _ in range(510)], partition=0)
    with pytest.raises(QuarantineFlood, match="more than 500 rows of one batch"):
        lab.drain()
    assert lab.value("SELECT count(*) FROM ingest.quarantine") == 0
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 510


def test_a_replay_under_a_stricter_contract_does_not_count_a_record_twice(lab: Lab) -> None:
    lab.produce([event("a", pax=1), event("a", pax=7)], partition=0)
    lab.drain()
    pax = replace(lab.dataset.columns[2], minimum=5)
    columns = (*lab.dataset.columns[:2], pax, *lab.dataset.columns[3:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="strict")
    lab.migrate()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        (report,) = again.replay(connection, lab.dataset, lab.settings, {0: (0, 2)}, run_id="replay")
    assert report.quarantined == 1
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


def test_what_is_committed_before_a_failed_read_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.produce([event(str(n)) for n in range(20)], partition=0)
    monkeypatch.setattr("pista.ingest.drain.RETRY_SECONDS", 0.0)
    read, calls = Reader.read, iter(range(100))

    def fail_once(*arguments: object, **options: object) -> object:
        if next(calls) == 1:
            raise ClientError("cut off")
        return read(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("pista.kafka.reader.Reader.read", fail_once)
    report = lab.drain(batch_max_records=5)

    assert (report.records, sum(batch.records for batch in lab.reports)) == (20, 20)
    assert report.batches == lab.value("SELECT count(*) FROM ingest.batches WHERE dataset = 'legs'")


def test_a_drain_whose_commit_takes_long_is_not_taken_for_dead(
    lab: Lab, eventually: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress: list[Heartbeat] = []
    monkeypatch.setattr(Heartbeat, "progress", lambda heartbeat: progress.append(heartbeat))
    monkeypatch.setattr("pista.ingest.drain.COMMIT_BEAT_SECONDS", 0.01)
    lab.produce([event("a")])
    running = threading.Thread(target=lab.drain)
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute("SELECT FROM catalog.versions WHERE dataset = 'legs' FOR UPDATE")
        running.start()
        eventually(lambda: lab.query("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        before = len(progress)
        # more often than the loop comes round while it reads ahead
        eventually(lambda: len(progress) > before + 20)
    running.join()
    assert lab.value("SELECT count(*) FROM curated.legs") == 1
