"""Any mix of batching, repetition, lateness, deletion and partition growth ends as one ordered load does."""

import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, Merge
from pista.ingest.batch import make_batch
from pista.ingest.decode import Decoder
from pista.ingest.load import commit_batch
from pista.kafka.records import Record, Records
from pista.settings import Settings
from pista.warehouse import patching
from pista.warehouse.migrate import migrate

COLUMNS = (
    Column("id", "id", LogicalType.STRING, "text", required=True),
    Column("rank", "rank", LogicalType.INTEGER, "integer", required=True),
    Column("mark", "mark", LogicalType.STRING, "text"),
    Column("day", "day", LogicalType.INTEGER, "integer"),
)
PLAIN = Dataset("plain", "1", Kind.UPSERT, COLUMNS, ("id",), topic="t", contract_hash="p")
RANKED = replace(PLAIN, name="ranked", ordering="rank", contract_hash="r")
PATCHED = replace(PLAIN, name="patched", merge=Merge.PATCH, contract_hash="a")
PATCHED_RANKED = replace(RANKED, name="patched_ranked", merge=Merge.PATCH, contract_hash="b")


@dataclass(frozen=True)
class Event:
    """An event, or a deletion (rank None), with its place in the log; a partial one lacks fields, or has null there."""

    key: str
    rank: int | None
    mark: int
    partition: int
    offset: int
    order_time: int
    lacks: str = ""  # names of fields, with a space between
    nulls: str = ""

    @property
    def fields(self) -> dict[str, object]:
        whole = {"id": self.key, "rank": self.rank, "mark": str(self.mark), "day": self.mark % 3}
        stated = {name: value for name, value in whole.items() if name not in self.lacks.split()}
        return {name: None if name in self.nulls.split() else value for name, value in stated.items()}

    @property
    def position(self) -> tuple[int, int, int]:
        return (self.order_time, self.partition, self.offset)

    @property
    def record(self) -> Record:
        value = None if self.rank is None else json.dumps(self.fields).encode()
        return Record(self.partition, self.offset, self.order_time, self.key.encode(), value)


@st.composite
def logs(draw: st.DrawFn, *, partial: bool = False) -> list[Event]:
    """A topic whose partitions grow while it is written, with timestamps that stand still or step back."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from("ab"),  # key
                st.one_of(st.none(), st.integers(0, 2)),  # rank; None deletes
                st.integers(-1, 2),  # step of the clock
                st.integers(0, 2),  # partition, as far as the topic has grown
                st.sampled_from(("", "mark", "day", "mark day") if partial else ("",)),  # lacks
                st.sampled_from(("", "mark", "day") if partial else ("",)),  # is null
            ),
            min_size=1,
            max_size=12,
        )
    )
    clock, offsets, greatest, events = 1000, [0, 0, 0], [0, 0, 0], []
    for number, (key, rank, step, wish, lacks, nulls) in enumerate(steps):
        clock += step
        partition = min(wish, number // 4)
        greatest[partition] = max(greatest[partition], clock)
        events.append(Event(key, rank, number, partition, offsets[partition], greatest[partition], lacks, nulls))
        offsets[partition] += 1
    return events


def ordered_load(events: list[Event], *, ranked: bool) -> dict[str, tuple[int, str]]:
    """The definition: events one by one in the log's order; the living rows."""
    rows: dict[str, tuple[int, str]] = {}
    rank: dict[str, int] = {}
    for event in sorted(events, key=lambda e: e.position):
        if event.rank is None:
            rows.pop(event.key, None)  # the deletion inherits the rank of the row
        elif not ranked or event.rank >= rank.get(event.key, event.rank):
            rank[event.key] = event.rank
            rows[event.key] = (event.rank, str(event.mark))
    return rows


@pytest.fixture(scope="module")
def warehouse(postgres_server: object, template_database: str) -> Iterator[psycopg.Connection]:
    name = f"test_order_{secrets.token_hex(4)}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")  # type: ignore[attr-defined]
    mart = Dataset(
        "by_day", "1", Kind.MART, (Column("day", "day", LogicalType.INTEGER, "integer", required=True),), ("day",),
        slice_column="day", transform="SELECT DISTINCT day FROM ranked",
    )  # fmt: skip
    from pista.contracts.dataset import MartInput

    mart = replace(mart, inputs=tuple(MartInput(d.name, "day") for d in (PLAIN, RANKED, PATCHED, PATCHED_RANKED)))
    datasets = {d.name: d for d in (PLAIN, RANKED, PATCHED, PATCHED_RANKED, mart)}
    migrate(postgres_server.dsn(name), datasets)  # type: ignore[attr-defined]
    with psycopg.connect(postgres_server.dsn(name, "pista_ingest"), autocommit=True) as connection:  # type: ignore[attr-defined]
        yield connection
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[attr-defined]


def load(connection: psycopg.Connection, dataset: Dataset, events: list[Event]) -> None:
    batch = make_batch(
        Decoder(dataset, Settings(value_max_bytes=1000)),
        Records.of(event.record for event in events),
        epochs=np.zeros(len(events), np.int32),
        order_times=np.array([event.order_time for event in events], np.int64),
        planned={},
        positions={},
        read_ms=0.0,
        clock_ms=0.0,
    )
    commit_batch(connection, batch, run_id="test", kind="replay")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs(), st.randoms(use_true_random=False), st.integers(1, 5))
@pytest.mark.parametrize("dataset", [PLAIN, RANKED], ids=["log order", "ordering field"])
def test_any_arrival_ends_as_one_ordered_load(
    warehouse: psycopg.Connection, dataset: Dataset, events: list[Event], rng: random.Random, size: int
) -> None:
    warehouse.execute(f"DELETE FROM curated.{dataset.name}".encode())
    warehouse.execute("DELETE FROM catalog.deleted")
    warehouse.execute("DELETE FROM ingest.changed_slices")
    # late, repeated, and cut into batches at random
    arrival = events + rng.choices(events, k=len(events) // 2)
    rng.shuffle(arrival)
    seen: set[str] = set()
    for start in range(0, len(arrival), size):
        load(warehouse, dataset, arrival[start : start + size])
        seen |= {key for (key,) in warehouse.execute(f"SELECT id FROM curated.{dataset.name}".encode()).fetchall()}

    rows = ordered_load(events, ranked=dataset.ordering is not None)
    found = warehouse.execute(f"SELECT id, rank, mark FROM curated.{dataset.name}".encode()).fetchall()
    assert {key: (rank, mark) for key, rank, mark in found} == rows
    # a follower of changes learns of every row that was served and is gone, and of no other
    remembered = warehouse.execute("SELECT key FROM catalog.deleted WHERE version IS NOT NULL").fetchall()
    assert {key for (key,) in remembered} == {f'["{key}"]' for key in seen - set(rows)}
    # every slice that a row is in was queued for the mart
    queued = {int(s) for (s,) in warehouse.execute("SELECT slice FROM ingest.changed_slices").fetchall()}
    assert {int(mark) % 3 for _, mark in rows.values()} <= queued


def patched_load(events: list[Event], *, ranked: bool) -> dict[str, tuple[object, object, object]]:
    """The definition: all events of a key after its last deletion, laid over each other in order; the living rows."""
    rows = {}
    for key in {event.key for event in events}:
        stated = [e for e in events if e.key == key and e.rank is not None]
        stated.sort(key=lambda e: ((e.rank or 0) if ranked else 0, e.position))
        deleted = max((e.position for e in events if e.key == key and e.rank is None), default=(0, 0, -1))
        if stated and stated[-1].position > deleted:
            row: dict[str, object] = {}
            for event in stated:
                if event.position > deleted:
                    row |= event.fields
            rows[key] = (row["rank"], row.get("mark"), row.get("day"))
    return rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs(partial=True), st.randoms(use_true_random=False), st.integers(1, 5))
@pytest.mark.parametrize("dataset", [PATCHED, PATCHED_RANKED], ids=["log order", "ordering field"])
@pytest.mark.parametrize("crowded", [patching.LEAST_CROWDED, 2], ids=["all kept", "superseded forgotten"])
def test_any_arrival_of_partial_events_ends_as_one_ordered_load(
    warehouse: psycopg.Connection,
    dataset: Dataset,
    crowded: int,
    events: list[Event],
    rng: random.Random,
    size: int,
) -> None:
    for table in (f"curated.{dataset.name}", f"patches.{dataset.name}", "catalog.deleted", "ingest.changed_slices"):
        warehouse.execute(f"DELETE FROM {table}".encode())
    arrival = events + rng.choices(events, k=len(events) // 2)
    rng.shuffle(arrival)
    seen: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patching, "_crowded", lambda dataset: crowded)
        for start in range(0, len(arrival), size):
            load(warehouse, dataset, arrival[start : start + size])
            seen |= {key for (key,) in warehouse.execute(f"SELECT id FROM curated.{dataset.name}".encode()).fetchall()}

    rows = patched_load(events, ranked=dataset.ordering is not None)
    found = warehouse.execute(f"SELECT id, rank, mark, day FROM curated.{dataset.name}".encode()).fetchall()
    assert {key: (rank, mark, day) for key, rank, mark, day in found} == rows
    remembered = warehouse.execute("SELECT key FROM catalog.deleted WHERE version IS NOT NULL").fetchall()
    assert {key for (key,) in remembered} == {f'["{key}"]' for key in seen - set(rows)}
    queued = {int(s) for (s,) in warehouse.execute("SELECT slice FROM ingest.changed_slices").fetchall()}
    assert {day for _, _, day in rows.values() if day is not None} <= queued


def test_a_field_keeps_its_value_where_an_event_lacks_it_and_loses_it_to_null(warehouse: psycopg.Connection) -> None:
    def row() -> object:
        return warehouse.execute("SELECT rank, mark, day FROM curated.patched WHERE id = 'x'").fetchone()

    load(warehouse, PATCHED, [Event("x", 1, 3, 0, 0, 1)])
    load(warehouse, PATCHED, [Event("x", 2, 4, 0, 1, 2, lacks="mark day")])
    assert row() == (2, "3", 0)
    load(warehouse, PATCHED, [Event("x", 2, 4, 0, 2, 3, lacks="day", nulls="mark")])
    assert row() == (2, None, 0)
    # a late event fills what no newer one states, and nothing else
    load(warehouse, PATCHED, [Event("y", 9, 5, 0, 4, 5, lacks="day")])
    load(warehouse, PATCHED, [Event("y", 1, 7, 0, 3, 4)])
    assert warehouse.execute("SELECT rank, mark, day FROM curated.patched WHERE id = 'y'").fetchone() == (9, "5", 1)


def test_events_of_a_busy_key_do_not_pile_up(warehouse: psycopg.Connection) -> None:
    for start in range(0, 200, 20):
        load(
            warehouse,
            PATCHED,
            [Event("busy", n, n, 0, 1000 + n, 1000 + n, lacks="day" if n else "") for n in range(start, start + 20)],
        )
    count = warehouse.execute("""SELECT count(*) FROM patches.patched WHERE key = '["busy"]'""").fetchone()
    assert count is not None
    assert count[0] <= patching.LEAST_CROWDED + 20
    assert warehouse.execute("SELECT rank, day FROM curated.patched WHERE id = 'busy'").fetchone() == (199, 0)


def test_an_event_that_is_older_in_the_log_but_newer_in_order_is_not_forgotten(
    warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patching, "_crowded", lambda dataset: 1)
    newest = Event("z", 7, 1, 0, 0, 1)
    older = [Event("z", 3, 2, 0, 1, 2), Event("z", 3, 4, 0, 2, 3)]
    for events in ([newest, *older], [Event("z", 4, 5, 0, 3, 4)], [Event("z", 5, 6, 0, 4, 5, lacks="mark")]):
        load(warehouse, PATCHED_RANKED, events)
    row = warehouse.execute("SELECT rank, mark, day FROM curated.patched_ranked WHERE id = 'z'").fetchone()
    assert row == (7, "1", 1)
    kept = warehouse.execute(
        """SELECT "offset" FROM patches.patched_ranked WHERE key = '["z"]' ORDER BY 1"""
    ).fetchall()
    assert kept == [(0,), (3,), (4,)]


def test_a_deleted_row_dirties_its_slice_and_a_moved_row_both(warehouse: psycopg.Connection) -> None:
    warehouse.execute("DELETE FROM curated.plain")
    warehouse.execute("DELETE FROM catalog.deleted")
    first = Event("x", 1, 3, 0, 0, 1)  # day 0
    moved = Event("x", 1, 4, 0, 1, 2)  # day 1
    gone = Event("x", None, 5, 0, 2, 3)
    seen = []
    for event in (first, moved, gone, moved):
        warehouse.execute("DELETE FROM ingest.changed_slices")
        load(warehouse, PLAIN, [event])
        seen.append(sorted(s for (s,) in warehouse.execute("SELECT slice FROM ingest.changed_slices").fetchall()))
    assert seen == [["0"], ["0", "1"], ["1"], []]


def test_equal_content_moves_the_position_but_not_the_version(warehouse: psycopg.Connection) -> None:
    warehouse.execute("DELETE FROM curated.plain")
    warehouse.execute("DELETE FROM catalog.deleted")
    query = "SELECT _version, _updated_at, _offset FROM curated.plain"
    load(warehouse, PLAIN, [Event("x", 1, 3, 0, 0, 1)])
    before = warehouse.execute(query).fetchone()
    load(warehouse, PLAIN, [replace(Event("x", 1, 3, 0, 0, 1), offset=7)])
    after = warehouse.execute(query).fetchone()
    assert before is not None
    assert after is not None
    assert after[:2] == before[:2]
    assert (before[2], after[2]) == (0, 7)
