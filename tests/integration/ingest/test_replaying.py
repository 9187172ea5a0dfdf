"""Replay of a range by command and by Dagster job: nothing doubled, nothing back in time, nothing never drained."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from dagster_project.build import build_defs
from pista.ingest import again
from pista.ingest.reconcile import reconcile
from pista.warehouse.connection import connect

from .conftest import Command, Lab, event

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def drained(lab: Lab) -> Lab:
    """Six events, a minute apart from noon on, of partition 0 and one of partition 1; rows are lost since."""
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka_bootstrap)
    for n in range(6):
        key, value = event(str(n), pax=n)
        time = round(NOON.timestamp() * 1000) + n * 60_000
        producer.send(lab.dataset.topic, key=key, value=value, partition=0, timestamp_ms=time)
    producer.flush()
    producer.close()
    lab.produce([event("other")], partition=1)
    lab.drain()
    with psycopg.connect(lab.admin_dsn) as connection:
        connection.execute("DELETE FROM curated.legs")
        connection.execute('DELETE FROM raw.legs WHERE "offset" = 2')
    return lab


def rows(lab: Lab) -> list[str]:
    return [key for (key,) in lab.query("SELECT id FROM curated.legs ORDER BY id")]


def test_a_range_of_offsets(drained: Lab, command: Command) -> None:
    for _ in range(2):
        done = command("dataset", "replay", "legs", "--partition", "0", "--from", "1", "--to", "4")
        assert done.exit_code == 0, done.output
    assert "Replaying 3 offsets" in done.output
    assert "3 records read, 0 rows changed" in done.output
    assert rows(drained) == ["1", "2", "3"]
    assert drained.value("SELECT count(*) FROM raw.legs") == 7
    drained.reconcile()
    assert drained.value("SELECT detail #>> '{partitions,0}' FROM ingest.audit LIMIT 1") == "[1, 4]"


def test_a_span_of_time(drained: Lab, command: Command) -> None:
    done = command("dataset", "replay", "legs", "--since", "2024-05-01T12:01:00Z", "--until", "2024-05-01T12:04:00Z")
    assert "partition 0 [1, 4)" in done.output
    assert rows(drained) == ["1", "2", "3"]
    done = command("dataset", "replay", "legs", "--since", "2024-05-01T12:05:00+00:00")
    assert rows(drained) == ["1", "2", "3", "5", "other"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--partition", "0", "--from", "0", "--to", "9"], "cannot replay [0, 9); offsets up to 6 were drained"),
        (["--from", "0"], "offsets are of one partition; say of which: 0, 1"),
        (["--partition", "5", "--from", "0"], "partition 5 of dataset legs was never drained"),
        ([], "say either from which offset to which, or since when until when"),
        (["--since", "2024-05-01"], "has no zone"),
        (["--until", "2013-01-01T00:00:00Z"], "nothing of that time was drained"),
    ],
)
def test_what_cannot_be_replayed_is_said(drained: Lab, command: Command, arguments: list[str], sentence: str) -> None:
    result = command("dataset", "replay", "legs", *arguments)
    assert result.exit_code == 1
    assert sentence in result.output
    assert drained.value("SELECT count(*) FROM ingest.audit") == 0


def test_what_expired_since_cannot_be_replayed(drained: Lab, command: Command, kafka_server: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.delete_records({TopicPartition(drained.dataset.topic, 0): 3})
    admin.close()
    refused = command("dataset", "replay", "legs", "--partition", "0", "--from", "0")
    assert "offsets before 3 are not on the topic any more" in refused.output
    done = command("dataset", "replay", "legs", "--since", "2024-05-01T12:00:00Z", "--until", "2024-05-02T12:00:00Z")
    assert "partition 0 [3, 6)" in done.output


def test_the_job_replays_with_progress_and_fails_with_a_sentence(drained: Lab) -> None:
    defs = build_defs(drained.settings, datasets={"legs": drained.dataset})
    job = defs.resolve_job_def("replay")

    def launch(**config: object) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {"replay_range": {"config": {"dataset": "legs", **config}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(run_config=run_config, instance=instance, raise_on_error=False)

    assert launch(partition=0, from_offset=1, to_offset=4, reason="rows were lost").success
    assert rows(drained) == ["1", "2", "3"]
    assert launch(since="2024-05-01T12:04:00Z", until="2024-05-01T12:05:00Z").success
    assert rows(drained) == ["1", "2", "3", "4"]
    assert drained.value("SELECT count(*) FROM raw.legs") == 7
    assert drained.query("SELECT command, reason FROM ingest.audit ORDER BY id") == [
        ("dataset replay", "rows were lost"), ("dataset replay", None),
    ]  # fmt: skip
    for config, sentence in (
        ({"partition": 0, "to_offset": 99}, "offsets up to 6 were drained"),
        ({"dataset": "nothing"}, "No source dataset is named nothing; there are legs."),
    ):
        failed = launch(**config)
        assert not failed.success
        assert sentence in str(failed.get_step_failure_events()[0].step_failure_data)


def test_without_raw_a_replay_by_a_stricter_contract_puts_nothing_that_is_loaded_into_quarantine(lab: Lab) -> None:
    lab.dataset = replace(lab.dataset, keep_raw=False, contract_hash="bare")
    lab.migrate()
    lab.produce([event("a"), event("b", pax=-1)], partition=0)
    lab.drain()
    strict = tuple(replace(c, minimum=5) if c.name == "pax" else c for c in lab.dataset.columns)
    lab.produce([event("c", pax=3)], partition=0)
    lab.drain()
    lab.dataset = replace(lab.dataset, columns=strict)
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        list(again.replay(connection, lab.dataset, lab.settings, {0: (0, 3)}, run_id="replay"))
        (account,) = reconcile(connection, [lab.dataset], timedelta(days=1))
    assert account.faults == []
    assert lab.query('SELECT "offset" FROM ingest.quarantine') == [(1,)]
