"""A batch on its way from the log to the database: records with their positions, rows, and rejections."""

import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv

from pista.contracts.dataset import Dataset
from pista.ingest.arrow import MOMENT, Decoded
from pista.ingest.decode import decode
from pista.ingest.ledger import Entry
from pista.kafka.records import Record


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one read, decoded, in the order of their positions within each partition."""

    dataset: Dataset
    records: Sequence[Record]
    epochs: np.ndarray  # int32, a record
    order_times: np.ndarray  # int64 milliseconds since 1970, a record
    decoded: Decoded
    planned: Mapping[int, Entry]  # where the ledger stood; empty for replays and retries
    positions: Mapping[int, int]  # partition -> next offset after this batch
    read_ms: float
    decode_ms: float

    @property
    def size(self) -> int:
        """Bytes of keys and values."""
        return sum(record.size for record in self.records)

    def next_entries(self) -> dict[int, Entry]:
        """Where the ledger stands once this batch is committed."""
        greatest: dict[int, int] = {}
        for record, order_time in zip(self.records, self.order_times.tolist(), strict=True):
            greatest[record.partition] = max(greatest.get(record.partition, 0), order_time)
        return {
            partition: Entry(
                partition,
                entry.topic_id,
                entry.epoch,
                self.positions[partition],
                max(entry.order_time, moment(greatest.get(partition, 0))),
            )
            for partition, entry in self.planned.items()
        }

    def stage(self, rows: np.ndarray) -> bytes:
        """The rows of those numbers in the decoded table, as CSV for the stage."""
        table = self.decoded.table.take(pa.array(rows))
        index = self.decoded.index[rows]
        records = [self.records[i] for i in index.tolist()]
        tombstone = table.column("_tombstone")
        columns = [
            *table.drop_columns("_tombstone").columns,
            pa.array(self.epochs[index]),
            pa.array(self.order_times[index], pa.timestamp("ms", "UTC")).cast(MOMENT),
            pa.array([record.partition for record in records], pa.int32()),
            pa.array([record.offset for record in records], pa.int64()),
            pa.array([max(record.timestamp, 0) for record in records], pa.timestamp("ms", "UTC")).cast(MOMENT),
            pa.array([None if record.key is None else "\\x" + record.key.hex() for record in records], pa.string()),
            pa.array([record.value for record in records], pa.binary()).cast(pa.string()),
            pa.array([headers_json(record) for record in records], pa.string()),
            tombstone,
        ]
        names = [str(number) for number in range(len(columns))]
        sink = io.BytesIO()
        options = pyarrow.csv.WriteOptions(include_header=False)
        pyarrow.csv.write_csv(pa.Table.from_arrays(columns, names=names), sink, options)
        return sink.getvalue()


def make_batch(
    dataset: Dataset,
    records: Sequence[Record],
    *,
    epochs: np.ndarray,
    order_times: np.ndarray,
    value_max_bytes: int,
    planned: Mapping[int, Entry],
    positions: Mapping[int, int],
    read_ms: float,
    clock_ms: float,
) -> Batch:
    """Decode records into a batch; ``clock_ms`` is the time at which decoding began, of ``monotonic_ms``."""
    rows = decode(dataset, records, value_max_bytes)
    return Batch(dataset, records, epochs, order_times, rows, planned, positions, read_ms, monotonic_ms() - clock_ms)


def order_times(records: Sequence[Record], before: Mapping[int, int]) -> np.ndarray:
    """Greatest record timestamp so far in each record's partition, milliseconds since 1970.

    Args:
        records: in offset order within each partition.
        before: partition to the greatest timestamp before the first of its records, milliseconds.
    """
    partitions = np.fromiter((record.partition for record in records), np.int32, len(records))
    times = np.fromiter((max(record.timestamp, 0) for record in records), np.int64, len(records))
    for partition in np.unique(partitions):
        mask = partitions == partition
        times[mask] = np.maximum(np.maximum.accumulate(times[mask]), before[int(partition)])
    return times


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def monotonic_ms() -> float:
    """A clock for durations, in milliseconds."""
    return time.monotonic() * 1000


def headers_json(record: Record) -> str | None:
    """Headers as a JSON list of name and base64 value; None where there are none."""
    if not record.headers:
        return None
    pairs = [[name, None if value is None else base64.b64encode(value).decode()] for name, value in record.headers]
    return orjson.dumps(pairs).decode()
