"""History from files: each format, bad lines, twice, broken off, beside drains, and losing to the topic."""

import csv
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest

from pista.ingest.again import retry
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.erase import erase
from pista.ingest.fileload import LoadReport, load_file
from pista.ingest.files import FileError
from pista.ingest.ledger import LostRaceError
from pista.ingest.rebuild import Source, rebuild
from pista.warehouse.connection import connect

from .conftest import Lab, event

ROWS = [
    {"id": "a", "state": "on", "pax": 1, "day": "2012-01-01", "seen_at": "2012-01-01T10:00:00Z"},
    {"id": "b", "state": "off", "pax": None, "day": None, "seen_at": None},
    {"id": "c", "state": "on", "pax": 3, "day": "2012-01-03", "seen_at": "2012-01-03T12:00:00+02:00"},
]


def load(lab: Lab, path: Path, reports: list[BatchReport] | None = None, **caps: int) -> LoadReport:
    settings = lab.settings.model_copy(update=caps)
    sink = [] if reports is None else reports
    with connect(str(settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        return load_file(connection, lab.dataset, settings, path, run_id="load", on_batch=sink.append)


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ROWS[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        table = pa.Table.from_pylist(rows)
        times = table["seen_at"].cast(pa.timestamp("us", "UTC"))
        pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index("seen_at"), "seen_at", times), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows(lab: Lab) -> list[Any]:
    return lab.query(
        f"""
        SELECT id, state, pax, day::text, (seen_at AT TIME ZONE 'UTC')::text FROM curated.{lab.dataset.name} ORDER BY 1
        """
    )


EXPECTED = [
    ("a", "on", 1, "2012-01-01", "2012-01-01 10:00:00"),
    ("b", "off", None, None, None),
    ("c", "on", 3, "2012-01-03", "2012-01-03 10:00:00"),
]


@pytest.mark.parametrize("suffix", [".ndjson", ".csv", ".parquet"])
def test_each_format_loads_alike(lab: Lab, tmp_path: Path, suffix: str) -> None:
    report = load(lab, write(tmp_path / f"history{suffix}"))
    assert (report.records, report.loaded, report.quarantined, report.already) == (3, 3, 0, False)
    assert rows(lab) == EXPECTED
    assert lab.query("SELECT kind, records FROM ingest.batches") == [("load", 3)]
    lab.reconcile()


def test_a_file_loaded_twice_adds_nothing_even_to_an_append_dataset(append_lab: Lab, tmp_path: Path) -> None:
    first = load(append_lab, write(tmp_path / "one.ndjson"))
    copy = load(append_lab, write(tmp_path / "copy of one.ndjson"))
    assert (copy.already, copy.number, copy.records) == (True, first.number, 3)
    assert append_lab.value("SELECT count(*) FROM curated.facts") == 3
    assert append_lab.value("SELECT count(*) FROM raw.facts") == 3
    # the same rows in another file are other facts
    load(append_lab, write(tmp_path / "other.csv"))
    assert append_lab.value("SELECT count(*) FROM curated.facts") == 6


def test_history_loses_to_the_topic_and_an_older_load_to_a_newer(lab: Lab, tmp_path: Path) -> None:
    lab.produce([event("a", pax=9), (b"c", None)])
    lab.drain()
    load(lab, write(tmp_path / "new.ndjson"))
    load(lab, write(tmp_path / "newer.ndjson", [{**ROWS[1], "pax": 7}]))
    assert lab.query("SELECT id, pax FROM curated.legs ORDER BY id") == [("a", 9), ("b", 7)]
    lab.produce([event("b", pax=8)])
    lab.drain()
    assert lab.query("SELECT id, pax FROM curated.legs ORDER BY id") == [("a", 9), ("b", 8)]
    lab.reconcile()


def test_bad_lines_go_to_quarantine_with_file_and_line_and_can_be_retried(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_text('{"id": "a", "pax": 1}\n\n{"id": \n{"id": "b", "state": "odd"}\n{"id": "c"}\n', encoding="utf-8")
    report = load(lab, path)
    assert (report.records, report.loaded, report.quarantined) == (4, 2, 2)
    query = 'SELECT topic, partition, "offset", reason FROM ingest.quarantine WHERE resolved_at IS NULL ORDER BY 3'
    assert lab.query(query) == [
        ("bad.ndjson", report.number, 3, "not_json"),
        ("bad.ndjson", report.number, 4, "not_in_enum"),
    ]
    lab.reconcile()

    columns = tuple(replace(c, enum=("on", "odd")) if c.name == "state" else c for c in lab.dataset.columns)
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="two")
    lab.migrate()
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        retry(connection, lab.dataset, lab.settings, run_id="retry")
    assert lab.value("SELECT state FROM curated.legs WHERE id = 'b'") == "odd"
    assert lab.query(query) == [("bad.ndjson", report.number, 3, "not_json")]


def test_lines_of_a_framed_dataset_are_plain_json_and_are_retried_as_such(lab: Lab, tmp_path: Path) -> None:
    framed = replace(lab.dataset, debezium=True, contract_hash="framed")
    lab.dataset = framed
    lab.migrate()
    load(lab, write(tmp_path / "history.ndjson", [{"id": "a"}, {"id": "b", "state": "odd"}]))
    columns = tuple(replace(c, enum=("on", "odd")) if c.name == "state" else c for c in framed.columns)
    with connect(lab.admin_dsn, "test") as connection:  # the contract is mended
        connection.execute("UPDATE catalog.datasets SET contract_hash = 'mended' WHERE name = 'legs'")
    lab.dataset = replace(framed, columns=columns, contract_hash="mended")
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        retry(connection, lab.dataset, lab.settings, run_id="retry")
    assert lab.query("SELECT id, state FROM curated.legs ORDER BY id") == [("a", None), ("b", "odd")]
    before = lab.query("SELECT id, state, _offset FROM curated.legs ORDER BY id")
    rebuild(lab.admin_dsn, lab.dataset, lab.settings, Source.RAW)
    assert lab.query("SELECT id, state, _offset FROM curated.legs ORDER BY id") == before


def test_cells_that_do_not_fit_and_short_rows_of_csv_are_quarantined(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("id,pax\na,1\nb,many\nc\nd,4\n", encoding="utf-8")
    assert load(lab, path).quarantined == 2
    assert lab.query('SELECT "offset", reason FROM ingest.quarantine ORDER BY 1') == [
        (3, "wrong_type"),
        (4, "not_json"),
    ]
    assert lab.query("SELECT id, pax FROM curated.legs ORDER BY 1") == [("a", 1), ("d", 4)]


def test_a_load_that_was_broken_off_goes_on_where_it_stood(append_lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "long.ndjson", [{"id": f"k{n}"} for n in range(100)])

    class CutError(Exception):
        pass

    class Cut(list[BatchReport]):
        def append(self, report: BatchReport) -> None:
            super().append(report)
            if len(self) == 3:
                raise CutError

    with pytest.raises(CutError):
        load(append_lab, path, Cut(), batch_max_records=10)
    reports: list[BatchReport] = []
    assert load(append_lab, path, reports, batch_max_records=10).records == 100
    assert len(reports) == 7
    assert append_lab.query("SELECT count(*), count(DISTINCT id) FROM curated.facts") == [(100, 100)]
    append_lab.reconcile()


def test_two_loads_of_one_file_at_once_double_nothing(append_lab: Lab, tmp_path: Path) -> None:
    path = write(tmp_path / "long.ndjson", [{"id": f"k{n}"} for n in range(40)])

    class Meanwhile(list[BatchReport]):
        def append(self, report: BatchReport) -> None:
            if not self:
                super().append(report)
                load(append_lab, path)

    with pytest.raises(LostRaceError, match=r"load \d+ of long\.ndjson"):
        load(append_lab, path, Meanwhile(), batch_max_records=10)
    assert append_lab.query("SELECT count(*), count(DISTINCT id) FROM curated.facts") == [(40, 40)]


def test_a_drain_and_a_load_in_turns_both_arrive(lab: Lab, tmp_path: Path) -> None:
    lab.produce(event(f"t{n}") for n in range(20))

    class Between(list[BatchReport]):
        def append(self, report: BatchReport) -> None:
            super().append(report)
            if len(self) == 2:
                lab.drain()

    load(lab, write(tmp_path / "f.ndjson", [{"id": f"f{n}"} for n in range(50)]), Between(), batch_max_records=10)
    assert lab.value("SELECT count(*) FROM curated.legs") == 70
    lab.reconcile()


def test_what_is_no_file_of_records_is_refused(lab: Lab, tmp_path: Path) -> None:
    for name, sentence in (("x.txt", r"\.txt says no format"), ("x.parquet", "is no Parquet")):
        (tmp_path / name).write_text("{}", encoding="utf-8")
        with pytest.raises(FileError, match=sentence):
            load(lab, tmp_path / name)


def test_ingestion_may_not_forget_a_load(lab: Lab) -> None:
    with (
        psycopg.connect(str(lab.settings.ingest_dsn.get_secret_value())) as connection,  # type: ignore[union-attr]
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("DELETE FROM ingest.loads")


def test_erased_records_are_counted_once_beside_rows_that_the_database_refuses(lab: Lab, tmp_path: Path) -> None:
    lab.migrate()
    erase(lab.admin_dsn, lab.dataset, lab.settings, ["gone"], reason="asked for")
    noise = random.Random(1).randbytes(20_000).hex()  # longer than an index entry may be, also compressed
    path = write(tmp_path / "history.ndjson", [{"id": "a"}, {"id": "gone"}, {"id": noise}, {"id": "b"}])

    load(lab, path)

    assert lab.query(
        "SELECT records, loaded, quarantined, filtered, inserted, unchanged FROM ingest.batches WHERE kind = 'load'"
    ) == [(4, 2, 1, 1, 2, 0)]
    lab.reconcile()
