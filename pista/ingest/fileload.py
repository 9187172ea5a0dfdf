"""Loading history from files, by the transaction of a drain, at positions before all of the topic.

A record of a file has epoch -1, the number of its load as partition and its line as offset: it loses to
every record of the topic, and to later loads. A load is known by the contents of its file, so that
loading a file twice adds nothing, and one that was broken off goes on where it stood.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.batch import make_batch, monotonic_ms
from pista.ingest.bookkeeping import BatchReport
from pista.ingest.decode import Decoder
from pista.ingest.files import FILE_EPOCH, Line, digest, plain, read_file
from pista.ingest.ledger import LostRaceError
from pista.ingest.load import commit_batch
from pista.kafka.records import Record, Records
from pista.settings import Settings
from pista.warehouse.maintenance import ensure_raw_partitions


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A file that is loaded."""

    file: str
    number: int  # of the load
    records: int  # of all attempts
    loaded: int
    quarantined: int
    already: bool  # it had been loaded before, and nothing was done


def load_file(
    connection: Connection[TupleRow],
    dataset: Dataset,
    settings: Settings,
    path: Path,
    *,
    run_id: str,
    on_batch: Callable[[BatchReport], None],
) -> LoadReport:
    """Load the records of a file that are not loaded yet, in batches; drains go on meanwhile.

    Args:
        connection: as pista_ingest, in autocommit.
        dataset: of kind upsert or append.
        settings: caps of a batch.
        path: NDJSON, CSV or Parquet, by its suffix.
        run_id: that answers for it.
        on_batch: told of each committed batch.

    Raises:
        FileError: the file is not what its suffix says.
        LostRaceError: another process is loading the same file.
        ContractChangedError: the tables are of another contract.
    """
    number, next_line, finished = _begin(connection, dataset, path)
    if not finished:
        ensure_raw_partitions(connection, dataset.name)
        decoder = Decoder(plain(dataset, path.name), settings)
        lines = (line for line in read_file(path, dataset) if line[0] >= next_line)
        for chunk in _chunks(lines, settings):
            following = chunk[-1][0] + 1
            on_batch(_commit(connection, decoder, chunk, number, next_line, following, run_id))
            next_line = following
        connection.execute("UPDATE ingest.loads SET finished_at = now() WHERE id = %s", (number,))
    row = connection.execute(
        "SELECT records, loaded, quarantined FROM ingest.loads WHERE id = %s", (number,)
    ).fetchone()
    assert row is not None
    return LoadReport(path.name, number, row[0], row[1], row[2], already=finished)


def _begin(connection: Connection[TupleRow], dataset: Dataset, path: Path) -> tuple[int, int, bool]:
    """The load of this file: its number, the line it goes on at, and whether it is finished."""
    key = (dataset.name, digest(path))
    connection.execute(
        "INSERT INTO ingest.loads (dataset, sha256, file) VALUES (%s, %s, %s) ON CONFLICT (dataset, sha256) DO NOTHING",
        (*key, path.name),
    )
    row = connection.execute(
        "SELECT id, next_line, finished_at IS NOT NULL FROM ingest.loads WHERE dataset = %s AND sha256 = %s", key
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _chunks(lines: Iterator[Line], settings: Settings) -> Iterator[list[Line]]:
    """Lines in batches within the caps."""
    while chunk := list(islice(lines, 1)):
        size = len(chunk[0][1])
        while len(chunk) < settings.batch_max_records and size < settings.batch_max_bytes:
            line = next(lines, None)
            if line is None:
                break
            chunk.append(line)
            size += len(line[1])
        yield chunk


def _commit(
    connection: Connection[TupleRow],
    decoder: Decoder,
    chunk: list[Line],
    number: int,
    start: int,
    end: int,
    run_id: str,
) -> BatchReport:
    """A batch, with the place where the load goes on after it."""
    batch = make_batch(
        decoder,
        Records.of(Record(number, line, -1, None, value) for line, value in chunk),
        epochs=np.full(len(chunk), FILE_EPOCH, np.int32),
        order_times=np.zeros(len(chunk), np.int64),
        planned={},
        positions={},
        read_ms=0.0,
        clock_ms=monotonic_ms(),
    )
    with connection.transaction():
        row = connection.execute("SELECT next_line FROM ingest.loads WHERE id = %s FOR UPDATE", (number,)).fetchone()
        if row is None or row[0] != start:
            raise LostRaceError(f"load {number} of {decoder.dataset.topic} was moved on by another process")
        report = commit_batch(connection, batch, run_id=run_id, kind="load")
        connection.execute(
            """
            UPDATE ingest.loads SET next_line = %s, records = records + %s, loaded = loaded + %s,
                quarantined = quarantined + %s WHERE id = %s
            """,
            (end, report.records, report.loaded, report.quarantined, number),
        )
        connection.execute(
            """
            INSERT INTO ingest.ranges (batch_id, dataset, epoch, partition, start_offset, end_offset, start_order_time,
                delivered, loaded, quarantined, filtered)
            SELECT max(id), dataset, %s, %s, %s, %s, 'epoch', %s, %s, %s, %s
            FROM ingest.batches WHERE dataset = %s GROUP BY dataset
            """,
            (
                FILE_EPOCH,
                number,
                start,
                end,
                report.records,
                report.loaded,
                report.quarantined,
                report.filtered,
                report.dataset,
            ),
        )
    return report
