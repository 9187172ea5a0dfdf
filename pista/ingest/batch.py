"""A batch on its way from the log to the database: records with their positions, rows, and rejections."""

import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import orjson
import pyarrow as pa

from pista.contracts.dataset import Dataset
from pista.ingest.arrow import Decoded
from pista.ingest.decode import Decoder
from pista.ingest.ledger import Entry
from pista.ingest.staging import bytea, lines, moments
from pista.kafka.records import Headers, Records
from pista.warehouse.merging import is_binary


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one read, decoded, in the order of their positions within each partition."""

    dataset: Dataset
    decoder: Decoder
    records: Records
    stored: Records | None  # the same records as raw shall keep them; None: not at all
    epochs: np.ndarray  # int32, a record
    order_times: np.ndarray  # int64 milliseconds since 1970, a record
    decoded: Decoded
    planned: Mapping[int, Entry]  # where the ledger stood; empty for replays and retries
    positions: Mapping[int, int]  # partition -> next offset after this batch
    read_ms: float
    decode_ms: float
    staged: memoryview | None = None  # all rows, staged while the batch before this one commits

    @property
    def again(self) -> bool:
        """Whether it may hold records that were loaded, or quarantined, before."""
        return not self.planned or any(entry.reached > entry.next_offset for entry in self.planned.values())

    def next_entries(self) -> dict[int, Entry]:
        """Where the ledger stands once this batch is committed."""
        greatest = {
            int(p): int(self.order_times[self.records.partitions == p].max())
            for p in np.unique(self.records.partitions)
        }
        return {
            partition: entry.moved(self.positions[partition], max(entry.order_time, moment(greatest.get(partition, 0))))
            for partition, entry in self.planned.items()
        }

    def stage(self, rows: np.ndarray) -> memoryview:
        """The rows of those numbers in the decoded table, in their order, as lines for the stage."""
        table, index = self.decoded.table, self.decoded.index
        if len(rows) < len(index):
            table, index = table.take(pa.array(rows)), index[rows]
        elif self.staged is not None:
            return self.staged
        return lines(
            [
                *table.drop_columns("_tombstone").columns,
                pa.array(self.epochs[index]),
                moments(self.order_times[index]),
                pa.array(self.records.partitions[index]),
                pa.array(self.records.offsets[index]),
                moments(np.maximum(self.records.timestamps[index], 0)),
                *self._kept(index),
                table.column("_tombstone"),
            ]
        )

    def _kept(self, index: np.ndarray) -> list[pa.Array]:
        """Key, value and headers as raw shall have them."""
        if self.stored is None:
            return [pa.nulls(len(index), pa.string())] * 3
        kept = self.stored if len(index) == len(self.stored) else self.stored.take(index)
        values = bytea(kept.values) if is_binary(self.dataset) else pa.array(kept.values, pa.binary()).cast(pa.string())
        headers = [headers_json(headers) for headers in kept.headers] if kept.headers else [None] * len(kept)
        return [bytea(kept.keys), values, pa.array(headers, pa.string())]


def make_batch(
    decoder: Decoder,
    records: Records,
    *,
    epochs: np.ndarray,
    order_times: np.ndarray,
    planned: Mapping[int, Entry],
    positions: Mapping[int, int],
    read_ms: float,
    clock_ms: float,
) -> Batch:
    """Decode records into a batch; ``clock_ms`` is the time at which decoding began, of ``monotonic_ms``."""
    rows = decoder.decode(records)
    batch = Batch(
        dataset=decoder.dataset,
        decoder=decoder,
        records=records,
        stored=decoder.stored(records) if decoder.dataset.keep_raw else None,
        epochs=epochs,
        order_times=order_times,
        decoded=rows,
        planned=planned,
        positions=positions,
        read_ms=read_ms,
        decode_ms=0.0,
    )
    staged = batch.stage(np.arange(len(rows.index)))
    return replace(batch, staged=staged, decode_ms=monotonic_ms() - clock_ms)


def order_times(records: Records, before: Mapping[int, int]) -> np.ndarray:
    """Greatest record timestamp so far in each record's partition, milliseconds since 1970.

    Args:
        records: in offset order within each partition.
        before: partition to the greatest timestamp before the first of its records, milliseconds.
    """
    times: np.ndarray = np.maximum(records.timestamps, 0)
    for partition in np.unique(records.partitions):
        mask = records.partitions == partition
        times[mask] = np.maximum(np.maximum.accumulate(times[mask]), before[int(partition)])
    return times


def epochs(records: Records, entries: Mapping[int, Entry]) -> np.ndarray:
    """The epoch of each record: its partition's, int32."""
    found = np.zeros(len(records), np.int32)
    for partition, entry in entries.items():
        found[records.partitions == partition] = entry.epoch
    return found


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def monotonic_ms() -> float:
    """A clock for durations, in milliseconds."""
    return time.monotonic() * 1000


def headers_json(headers: Headers) -> str | None:
    """Headers as a JSON list of name and base64 value; None where there are none."""
    if not headers:
        return None
    pairs = [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]
    return orjson.dumps(pairs).decode()


def headers_from_json(pairs: Iterable[tuple[str, str | None]] | None) -> Headers:
    """What ``headers_json`` wrote, parsed."""
    return tuple((name, None if value is None else base64.b64decode(value)) for name, value in pairs or ())
