"""Computing a dataset anew while it is served, drained, replayed and killed."""

import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from pista.contracts.dataset import Column, Dataset, Filter, Kind, LogicalType, MartInput, Origin, Pii
from pista.ingest import again
from pista.ingest.fileload import load_file
from pista.ingest.rebuild import RebuildRefusedError, RebuildReport, Source, rebuild
from pista.warehouse.connection import connect
from pista.warehouse.maintenance import maintain
from pista.warehouse.shadow import RebuildRunningError, alone
from pista.warehouse.tables import BreakingChangeError

from .conftest import Lab, event

GATE = Column("gate", "gate", LogicalType.STRING, "text")
MART = Dataset(
    "by_day",
    "1.0.0",
    Kind.MART,
    (Column("day", "day", LogicalType.DATE, "date", required=True),),
    ("day",),
    slice_column="day",
    transform="SELECT DISTINCT day FROM legs WHERE day IS NOT NULL",
    inputs=(MartInput("legs", "day"),),
    contract_hash="mart",
)


def run(lab: Lab, source: Source = Source.RAW, **options: Any) -> RebuildReport:
    settings = lab.settings.model_copy(update={"batch_max_records": options.pop("batch", 50_000)})
    return rebuild(lab.admin_dsn, lab.dataset, settings, source, **options)


def table(lab: Lab) -> list[Any]:
    columns = "id, state, pax, day, seen_at, passport, _epoch, _order_time, _partition, _offset"
    return lab.query(f"SELECT {columns} FROM curated.{lab.dataset.name} ORDER BY {', '.join(lab.dataset.table_key)}")


def leftovers(lab: Lab) -> list[Any]:
    return lab.query("SELECT relname FROM pg_class WHERE relname LIKE '%%\\_\\_rebuild%%'") + lab.query(
        "SELECT name FROM catalog.datasets WHERE name LIKE '%%\\_\\_rebuild'"
    )


def fill(lab: Lab) -> None:
    lab.produce([event(f"k{n % 7}", pax=n, passport=f"X{n}") for n in range(40)])
    lab.produce([(b"k3", None), (b"gone", None), event("late")])
    lab.drain(batch_max_records=10)


@pytest.mark.parametrize("source", list(Source))
def test_a_rebuild_ends_as_the_drains_did(lab: Lab, source: Source) -> None:
    lab.migrate(MART)
    fill(lab)
    before, deleted = table(lab), lab.query("SELECT key, partition FROM catalog.deleted ORDER BY key")
    indexes = (
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'legs' AND schemaname = 'curated' ORDER BY 1"
    )
    indexes_before = lab.query(indexes)
    ((version, epoch, rows),) = lab.query(
        "SELECT version, epoch, row_count FROM catalog.versions WHERE dataset = 'legs'"
    )
    lab.query("DELETE FROM ingest.changed_slices RETURNING 1")

    report = run(lab, source, batch=10, reason="to see")

    assert table(lab) == before
    assert (report.rows, report.refused, report.losses) == (rows, 0, [])
    assert lab.query("SELECT key, partition FROM catalog.deleted ORDER BY key") == deleted
    assert lab.query(indexes) == indexes_before
    ((now, renewed, counted),) = lab.query(
        "SELECT version, epoch, row_count FROM catalog.versions WHERE dataset = 'legs'"
    )
    assert (now, counted) == (version + 1, rows)
    assert renewed != epoch
    # every slice is built anew, readers may read what they might, and nobody finds the shadow
    assert lab.query("SELECT mart, slice FROM ingest.changed_slices") == [("by_day", "*")]
    with psycopg.connect(str(lab.settings.api_dsn.get_secret_value())) as api:  # type: ignore[union-attr]
        assert api.execute("SELECT count(id) FROM curated.legs").fetchone() == (rows,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.execute("SELECT passport FROM curated.legs")
    assert leftovers(lab) == []
    assert lab.query("SELECT command, dataset, detail ->> 'from', reason FROM ingest.audit") == [
        ("dataset rebuild", "legs", source.value, "to see")
    ]
    # and drains go on where they stood
    lab.produce([event("k0", pax=99)])
    lab.drain()
    assert lab.value("SELECT pax FROM curated.legs WHERE id = 'k0'") == 99
    lab.reconcile()


@pytest.mark.parametrize("source", list(Source))
def test_facts_are_rebuilt_too(append_lab: Lab, source: Source) -> None:
    append_lab.produce([event("a"), event("b"), event("a")])
    append_lab.drain()
    before = table(append_lab)
    run(append_lab, source, batch=2)
    assert table(append_lab) == before


def test_what_is_loaded_meanwhile_is_followed_whatever_its_place(lab: Lab, tmp_path: Path) -> None:
    """Drains, a replay, a retry and a file, each after another batch of the rebuild, at positions it has passed."""
    fill(lab)
    bad = [event("bad", state="odd")]
    lab.produce(bad)
    lab.drain()
    file = tmp_path / "history.ndjson"
    file.write_text('{"id": "old"}\n{"id": "k0", "pax": 1}\n', encoding="utf-8")
    # a record that raw lost and a replay brings back
    (lost,) = lab.query(
        'DELETE FROM raw.legs WHERE ctid = (SELECT min(ctid) FROM raw.legs) RETURNING partition, "offset"'
    )
    dsn = str(lab.settings.ingest_dsn.get_secret_value())  # type: ignore[union-attr]

    def meanwhile() -> Any:
        with connect(dsn, "test") as connection:
            lab.produce([event("k1", pax=101), event("new")])
            yield lab.drain()
            partition, offset = lost
            yield list(
                again.replay(connection, lab.dataset, lab.settings, {partition: (offset, offset + 1)}, run_id="replay")
            )
            yield load_file(connection, lab.dataset, lab.settings, file, run_id="load", on_batch=lambda _: None)
            lab.produce([event(f"more{n}") for n in range(30)])
            yield lab.drain()

    steps = meanwhile()
    run(lab, batch=9, accept_loss=True, on_batch=lambda _: next(steps, None))
    assert next(steps, "all") == "all"
    rebuilt = table(lab)
    assert {row[0] for row in rebuilt} >= {"old", "new", "more29", "k1", "late"}
    run(lab)
    assert table(lab) == rebuilt
    assert lab.value("SELECT row_count FROM catalog.versions WHERE dataset = 'legs'") == len(rebuilt)


def test_a_breaking_change_is_applied_by_a_rebuild_and_only_so(lab: Lab) -> None:
    fill(lab)
    columns = (
        replace(lab.dataset.columns[0], required=True),
        replace(lab.dataset.columns[2], sql_type="smallint", required=True, name="seats"),
        replace(lab.dataset.columns[3], logical_type=LogicalType.STRING, sql_type="text", required=True),
    )
    old, lab.dataset = lab.dataset, replace(lab.dataset, columns=columns, key=("day", "id"), contract_hash="two")
    with pytest.raises(BreakingChangeError, match="`pista dataset rebuild legs --from raw`"):
        lab.migrate()
    # deletions name the key of before, and the last event has no pax
    with pytest.raises(RebuildRefusedError, match=r"the contract refuses 3 records that are loaded \(partition \d"):
        run(lab)
    assert leftovers(lab) == []
    assert lab.value("SELECT contract_hash FROM catalog.datasets WHERE name = 'legs'") == "one"

    assert run(lab, accept_loss=True).refused == 3
    assert lab.query("SELECT day, id, seats FROM curated.legs ORDER BY id LIMIT 2") == [
        ("2013-01-01", "k0", 35),
        ("2013-01-01", "k1", 36),
    ]
    assert lab.migrate() == []
    lab.produce([event("k0", pax=50)])
    lab.drain()
    assert lab.value("SELECT seats FROM curated.legs WHERE id = 'k0'") == 50
    lab.dataset = old


def test_producers_may_be_ahead_and_a_later_column_is_filled_from_raw(lab: Lab) -> None:
    lab.produce([event("a", gate="B7", unheard={"of": 1})])
    lab.drain()
    lab.dataset = replace(lab.dataset, columns=(*lab.dataset.columns, GATE), contract_hash="two")
    assert lab.migrate() == ["added column curated.legs.gate text"]
    assert lab.query("SELECT id, gate FROM curated.legs") == [("a", None)]
    run(lab)
    assert lab.query("SELECT id, gate FROM curated.legs") == [("a", "B7")]


def test_what_becomes_personal_is_read_anew_and_raw_with_it(lab: Lab) -> None:
    fill(lab)
    count = lab.value("SELECT count(*) FROM raw.legs")
    columns = tuple(replace(c, pii=Pii.HASH) if c.name == "passport" else c for c in lab.dataset.columns)
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="hashed")
    lab.settings = lab.settings.model_copy(update={"pii_secret": SecretStr("s3cret")})
    clear = "SELECT count(*) FROM raw.legs WHERE convert_from(value, 'UTF8') LIKE '%%\"passport\": \"X%%'"
    assert lab.value(clear) > 0
    with pytest.raises(BreakingChangeError, match=r"hold it in clear.*--from topic"):
        lab.migrate()
    with pytest.raises(RebuildRefusedError, match="raw holds passport in clear"):
        run(lab)
    run(lab, Source.TOPIC)
    assert lab.value(clear.replace('": "', '":"')) == lab.value(clear) == 0
    assert lab.value("SELECT min(length(passport)) FROM curated.legs WHERE passport IS NOT NULL") == 64
    assert lab.value("SELECT count(*) FROM raw.legs") == count
    before = table(lab)
    run(lab)
    assert table(lab) == before
    lab.produce([event("k0", pax=99, passport="X99")])
    lab.drain()
    assert lab.value("SELECT length(passport) FROM curated.legs WHERE pax = 99") == 64
    lab.reconcile()
    assert lab.migrate() == []


def test_retention_takes_no_raw_from_under_a_rebuild(lab: Lab) -> None:
    fill(lab)
    lab.execute("UPDATE raw.legs SET loaded_at = loaded_at - interval '40 days'")
    keeping = replace(lab.dataset, retention=timedelta(days=30))
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        maintain(connection, [lab.dataset])  # the day gets its partition
        before = table(lab)
        dropped = []

        def tend(_: RebuildReport) -> None:
            dropped.extend(upkeep.dropped for upkeep in maintain(connection, [keeping]))

        run(lab, batch=10, on_batch=tend)
        assert table(lab) == before
        assert set(dropped) == {0}
        # and the next night it goes
        assert [upkeep.dropped for upkeep in maintain(connection, [keeping])] == [1]


def test_from_the_topic_it_begins_where_the_dataset_did(lab: Lab) -> None:
    lab.produce([event("before")], partition=0)
    lab.dataset = replace(lab.dataset, start="latest")
    lab.drain()
    lab.produce([event("after")], partition=0)
    lab.drain()
    assert lab.query("SELECT id FROM curated.legs") == [("after",)]

    run(lab, Source.TOPIC)

    assert lab.query("SELECT id FROM curated.legs") == [("after",)]


def test_what_a_wider_filter_read_from_the_topic_is_in_raw_too(lab: Lab) -> None:
    where = Filter("state", Origin.VALUE, ("state",), ("on",))
    lab.dataset = replace(lab.dataset, where=(where,), contract_hash="narrow")
    lab.migrate()
    lab.produce([event("ours"), event("theirs", state="off")])
    lab.drain()
    lab.dataset = replace(lab.dataset, where=(), contract_hash="wide")
    with pytest.raises(BreakingChangeError):
        lab.migrate()
    with pytest.raises(RebuildRefusedError, match="raw lacks the 1 records that another `where` left out"):
        run(lab, Source.RAW)
    run(lab, Source.TOPIC)
    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("ours",), ("theirs",)]

    run(lab, Source.RAW)

    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("ours",), ("theirs",)]
    lab.reconcile()


def test_half_a_log_is_refused_unless_the_loss_is_accepted(lab: Lab) -> None:
    fill(lab)
    lab.query("UPDATE raw.legs SET loaded_at = now() - interval '9 days' WHERE partition = 0 RETURNING 1")
    count = lab.value("SELECT count(*) FROM raw.legs WHERE partition = 0")
    lab.query("SELECT ingest.settle_raw_default('legs')")
    lab.query("SELECT ingest.drop_raw_before('legs', current_date - 1)")
    before = table(lab)
    with pytest.raises(
        RebuildRefusedError, match=rf"retention dropped the {count} raw records.*raw lacks {count} of the records"
    ):
        run(lab)
    assert table(lab) == before
    run(lab, Source.TOPIC)
    assert table(lab) == before
    assert len(run(lab, accept_loss=True).losses) == 2
    assert table(lab) == [row for row in before if row[-2] == 1]


def test_a_topic_that_lost_its_beginning_is_refused(lab: Lab, tmp_path: Path) -> None:
    fill(lab)
    from kafka import KafkaAdminClient, TopicPartition

    admin = KafkaAdminClient(bootstrap_servers=lab.settings.kafka_bootstrap)
    admin.delete_records({TopicPartition(str(lab.dataset.topic), 0): 2})
    admin.close()
    with pytest.raises(RebuildRefusedError, match=r"partition 0 of topic \S+ begins at offset 2, and the dataset at 0"):
        run(lab, Source.TOPIC)
    file = tmp_path / "history.ndjson"
    file.write_text('{"id": "old"}\n', encoding="utf-8")
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        load_file(connection, lab.dataset, lab.settings, file, run_id="load", on_batch=lambda _: None)
    with pytest.raises(RebuildRefusedError, match="the topic lacks the 1 records of load 1, which came from a file"):
        run(lab, Source.TOPIC)


def test_readers_never_queue_behind_the_swap(lab: Lab, caplog: pytest.LogCaptureFixture, eventually: Any) -> None:
    fill(lab)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            run(lab)
        except BaseException as error:
            failures.append(error)

    with psycopg.connect(lab.admin_dsn) as export:
        export.execute("SELECT FROM curated.legs")
        thread = threading.Thread(target=work)
        thread.start()
        # the swap waits behind the export, gives up after two seconds, and comes again
        eventually(lambda: "curated.legs is in use" in caplog.text)
        assert lab.value("SELECT count(*) FROM curated.legs") > 0
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert failures == []
    assert leftovers(lab) == []


def start(lab: Lab, path: Path) -> "subprocess.Popen[str]":
    settings = lab.settings.model_copy(update={"batch_max_records": 20})
    path.write_bytes(pickle.dumps((lab.dataset, settings, lab.admin_dsn)))
    program = Path(__file__).with_name("rebuild_process.py")
    return subprocess.Popen([sys.executable, str(program), str(path)], stdout=subprocess.PIPE, text=True)


def test_killed_at_any_moment_it_leaves_what_is_served_as_it_was(lab: Lab, tmp_path: Path) -> None:
    rng = random.Random(4)
    lab.produce(event(f"k{n}", pax=n) for n in range(600))
    lab.drain()
    before = table(lab)
    killed = 0
    for _ in range(8):
        process = start(lab, tmp_path / "rebuild")
        assert process.stdout is not None
        ended = False
        for line in islice(process.stdout, rng.randint(1, 30)):
            ended = line.startswith("ended")
        time.sleep(rng.uniform(0, 0.03))  # a random moment within the transactions is the point
        process.kill()
        process.wait()
        process.stdout.close()
        killed += not ended
        assert table(lab) == before
    assert killed >= 6
    lab.migrate()
    assert leftovers(lab) == []
    assert run(lab).rows == 600
    assert table(lab) == before


def test_one_rebuild_at_a_time_and_migrations_leave_a_living_one_alone(lab: Lab) -> None:
    fill(lab)

    def again_meanwhile(_: RebuildReport) -> None:
        with pytest.raises(RebuildRunningError, match="legs is being rebuilt"):
            run(lab)
        assert lab.migrate() == []

    run(lab, on_batch=again_meanwhile)
    with connect(lab.admin_dsn, "test") as connection, alone(connection, "legs"):
        pass


def test_a_dataset_of_another_topic_is_not_rebuilt(lab: Lab, create_topic: Callable[..., str]) -> None:
    fill(lab)
    lab.dataset = replace(lab.dataset, topic=create_topic(), contract_hash="two")
    with pytest.raises(RebuildRefusedError, match="says nothing of the other"):
        run(lab)
