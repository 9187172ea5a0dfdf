"""Moving the ledger by command: forward gives up, backward reads again without doubling, and a race loses nothing."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaProducer

from pista.ingest.drain import drain
from pista.ingest.lag import measure_lag
from pista.ingest.ledger import LostRaceError, lock, read_ledgers
from pista.ingest.operating import carry_out, look, plan_reset
from pista.ingest.targets import TargetError, parse_target
from pista.settings import get_settings
from pista.warehouse.connection import connect

from .conftest import Command, Lab, event


def ledger(lab: Lab) -> dict[int, tuple[int, int]]:
    """Partition to epoch and next offset."""
    return {p: (e, o) for p, e, o in lab.query("SELECT partition, epoch, next_offset FROM ingest.ledger ORDER BY 1")}


def test_a_reset_backwards_reads_again_and_doubles_nothing(lab: Lab, command: Command) -> None:
    lab.produce([event("a", pax=1), event("b", state="new"), event("a", pax=2)], partition=0)
    lab.drain()
    state = replace(lab.dataset.columns[1], enum=("on", "off", "new"))
    columns = (lab.dataset.columns[0], state, *lab.dataset.columns[2:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="two")
    lab.migrate()
    with psycopg.connect(lab.admin_dsn) as connection:  # somebody lost a row by hand
        connection.execute("DELETE FROM curated.legs")
        connection.execute('DELETE FROM raw.legs WHERE "offset" = 2')
    done = command("offsets", "reset", "legs", "--to", "earliest", "--reason", "rows were deleted", "--yes")
    assert "partition 0: 3 -> 0, 3 offsets are read again" in done.output
    lab.produce([event("c")], partition=0)
    lab.drain(batch_max_records=2)
    assert lab.query("SELECT id, pax FROM curated.legs ORDER BY id") == [("a", 2), ("b", None), ("c", None)]
    assert lab.query('SELECT "offset", count(*) FROM raw.legs GROUP BY 1 ORDER BY 1') == [(n, 1) for n in range(4)]
    assert lab.value("SELECT count(*) FROM ingest.quarantine WHERE resolved_at IS NULL") == 0
    assert lab.query("SELECT next_offset, reread_until FROM ingest.ledger WHERE partition = 0") == [(4, None)]
    lab.reconcile()
    command("offsets", "reset", "legs", "--to", "0:1", "--reason", "x", "--yes")
    lab.drain()
    assert lab.value("SELECT count(*) FROM raw.legs") == 4
    lab.reconcile()


def test_a_reset_backwards_takes_no_row_back_in_time(lab: Lab, command: Command) -> None:
    lab.produce([event("a", pax=1)], partition=0)
    lab.drain()
    lab.produce([event("a", pax=2)], partition=1)
    lab.drain()
    command("offsets", "reset", "legs", "--to", "0:0", "--reason", "x", "--yes")
    lab.drain()
    assert lab.query("SELECT pax FROM curated.legs") == [(2,)]


def test_a_reset_forward_says_what_is_given_up_and_a_time_finds_its_offset(lab: Lab, command: Command) -> None:
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka_bootstrap)
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    for n in range(6):
        key, value = event(str(n))
        time = round(noon.timestamp() * 1000) + n * 60_000
        producer.send(lab.dataset.topic, key=key, value=value, partition=0, timestamp_ms=time)
    producer.flush()
    producer.close()
    done = command("offsets", "reset", "legs", "--to", "2024-05-01T12:04:00Z", "--reason", "only today counts", "--yes")
    assert "partition 0: opened at 4, epoch 0, 4 offsets are given up unread" in done.output
    assert lab.drain().loaded == 2
    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("4",), ("5",)]
    refused = command("offsets", "reset", "legs", "--to", "0:7", "--reason", "x", "--yes")
    assert refused.exit_code == 1
    assert "has offsets 0 to 6, not 7" in refused.output
    assert "stands there already" in command("offsets", "reset", "legs", "--to", "latest", "--reason", "x").output
    assert lab.query("SELECT command, detail ->> 'lost', reason FROM ingest.audit") == [
        ("offsets reset", "4", "only today counts")
    ]


def test_a_drain_that_moves_the_ledger_between_plan_and_deed_wins(lab: Lab) -> None:
    lab.produce([event("a")], partition=0)
    lab.drain()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        plan = plan_reset(connection, look(connection, [lab.dataset], lab.settings)[0], "earliest", lab.settings)
        lab.produce([event("b")], partition=0)
        lab.drain()
        with pytest.raises(LostRaceError):
            carry_out(connection, plan, "x")
    assert ledger(lab)[0] == (0, 2)
    assert lab.value("SELECT count(*) FROM ingest.audit") == 0


def test_a_batch_that_was_planned_before_a_reset_is_not_committed(lab: Lab, command: Command) -> None:
    lab.produce([event(str(n)) for n in range(10)], partition=0)
    resets = iter([True])

    def reset_once(_report: object) -> None:
        if next(resets, False):
            done = command("offsets", "reset", "legs", "--to", "0:0", "--reason", "x", "--yes")
            assert done.exit_code == 0, done.output

    settings = lab.settings.model_copy(update={"drain_idle_seconds": 0.1, "batch_max_records": 3})
    # when the first batch is reported, the second is read and not committed yet
    drain(lab.dataset, settings, run_id="r", should_stop=lambda: False, on_batch=reset_once)
    assert lab.value("SELECT count(*) FROM raw.legs") == 10
    assert lab.value("SELECT count(*) FROM curated.legs") == 10
    lab.reconcile()


def test_a_batch_of_before_a_reset_is_refused_even_where_the_offset_is_the_same_again(
    lab: Lab, command: Command
) -> None:
    lab.produce([event("a")], partition=0)
    lab.drain()
    with connect(lab.settings.ingest_dsn.get_secret_value(), "test") as connection:  # type: ignore[union-attr]
        planned = read_ledgers(connection, ["legs"])["legs"]
        lab.produce([event("b")], partition=0)
        lab.drain()
        command("offsets", "reset", "legs", "--to", "0:1", "--reason", "x", "--yes")
        with pytest.raises(LostRaceError), connection.transaction():
            lock(connection, "legs", planned)


def test_a_dataset_that_is_not_applied_yet_cannot_be_moved(lab: Lab, command: Command) -> None:
    lab.dataset = replace(lab.dataset, name="later")
    result = command("offsets", "reset", "later", "--to", "latest", "--reason", "x", "--yes")
    assert result.exit_code == 1
    assert "not applied yet: run `pista apply`" in result.output


def test_show_puts_ledger_and_topic_side_by_side(lab: Lab, command: Command) -> None:
    assert "It was never drained." in command("offsets", "show").output
    lab.produce([event("a"), event("b")], partition=0)
    lab.drain()
    lab.produce([event("c")], partition=0)
    output = command("offsets", "show", "legs").output
    assert f"legs: topic {lab.dataset.topic}, id " in output
    assert re.search(r"^ +0 +0 +2 +0 +3 +1 +2$", output, re.MULTILINE), output
    assert "did you mean" in command("offsets", "show", "leg").output.lower()


def test_a_broker_that_is_away_is_a_sentence(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PISTA_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    get_settings.cache_clear()
    result = command("offsets", "show", "legs")
    assert result.exit_code == 1
    assert result.output.startswith("Error: Kafka at 127.0.0.1:9: ")


@pytest.mark.parametrize("text", ["soon", "2024-05-01T12:00:00", "0:1,x", "1:-2"])
def test_a_place_that_is_none_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(TargetError, match=r"valid: earliest|has no zone"):
        parse_target(text)


def test_a_contract_that_starts_at_the_end_skips_what_was_there_and_not_what_comes(lab: Lab) -> None:
    lab.dataset = replace(lab.dataset, start="latest")
    lab.produce([event("old")], partition=0)
    # seen by the sensor before anything new came: from here on nothing is skipped
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 0
    lab.produce([event("new")], partition=0)
    lab.produce([event("other")], partition=1)
    assert measure_lag([lab.dataset], lab.settings)["legs"].records == 2
    lab.drain()
    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("new",), ("other",)]


def test_a_contract_that_starts_at_a_time_begins_there_and_later_partitions_at_their_beginning(
    lab: Lab, kafka_server: str
) -> None:
    from kafka import KafkaAdminClient

    lab.produce([event("old")], partition=0)
    lab.dataset = replace(lab.dataset, start=datetime.now(UTC))
    lab.produce([event("new")], partition=0)
    lab.drain()
    assert lab.query("SELECT id FROM curated.legs") == [("new",)]
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.create_partitions({lab.dataset.topic: 3})
    admin.close()
    lab.dataset = replace(lab.dataset, start=datetime(2099, 1, 1, tzinfo=UTC))
    lab.produce([event("added")], partition=2)
    lab.drain()
    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("added",), ("new",)]


def test_commands_that_give_something_up_need_a_reason(command: Command, tmp_path: Path) -> None:
    for arguments in (
        ("offsets", "accept-loss", "legs"),
        ("offsets", "reset", "legs", "--to", "latest"),
        ("quarantine", "discard", "legs"),
        ("dataset", "pause", "legs"),
    ):
        result = command(*arguments)
        assert result.exit_code == 2
        assert "--reason" in result.output
