"""Records as the broker delivered them, undecoded: one, and many in columns."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Self

import numpy as np

LAST_TIMESTAMP = 253_402_300_799_999  # the end of year 9999, milliseconds

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One Kafka record: raw bytes and its place in the log."""

    partition: int
    offset: int
    timestamp: int  # milliseconds since 1970 UTC; -1 where the record has none
    key: bytes | None
    value: bytes | None  # None: a tombstone
    headers: Headers = ()

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class Records:
    """Many records, a column each field: what is done to all of them is done to a column at once."""

    partitions: np.ndarray  # int32
    offsets: np.ndarray  # int64
    timestamps: np.ndarray  # int64, milliseconds since 1970 UTC; -1: none
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None = None  # None: no record has any

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """The same records in columns."""
        rows = list(records)
        return cls(
            np.fromiter((record.partition for record in rows), np.int32, len(rows)),
            np.fromiter((record.offset for record in rows), np.int64, len(rows)),
            np.fromiter((record.timestamp for record in rows), np.int64, len(rows)),
            [record.key for record in rows],
            [record.value for record in rows],
            [record.headers for record in rows] if any(record.headers for record in rows) else None,
        )

    @classmethod
    def join(cls, parts: Sequence["Records"]) -> "Records":
        """The records of all parts, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.of(())
        headers = None
        if any(part.headers for part in parts):
            headers = list(chain.from_iterable(part.headers or [()] * len(part) for part in parts))
        return cls(
            np.concatenate([part.partitions for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            list(chain.from_iterable(part.keys for part in parts)),
            list(chain.from_iterable(part.values for part in parts)),
            headers,
        )

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Record]:
        return (self.one(index) for index in range(len(self)))

    def one(self, index: int) -> Record:
        """The record at that place."""
        return Record(
            int(self.partitions[index]),
            int(self.offsets[index]),
            int(self.timestamps[index]),
            self.keys[index],
            self.values[index],
            self.headers[index] if self.headers else (),
        )

    def part(self, start: int, end: int) -> "Records":
        """The records from one place to before another."""
        return Records(
            self.partitions[start:end],
            self.offsets[start:end],
            self.timestamps[start:end],
            self.keys[start:end],
            self.values[start:end],
            self.headers[start:end] if self.headers else None,
        )

    def take(self, index: np.ndarray) -> "Records":
        """The records at those places."""
        places = index.tolist()
        return Records(
            self.partitions[index],
            self.offsets[index],
            self.timestamps[index],
            [self.keys[i] for i in places],
            [self.values[i] for i in places],
            [self.headers[i] for i in places] if self.headers else None,
        )

    @property
    def size(self) -> int:
        """Bytes of keys and values."""
        return sum(map(len, filter(None, self.keys))) + sum(map(len, filter(None, self.values)))


def plausible(timestamps: np.ndarray) -> np.ndarray:
    """The timestamps, or -1 for none where no calendar has them: of a producer that counts in microseconds."""
    return np.where((timestamps >= 0) & (timestamps <= LAST_TIMESTAMP), timestamps, -1)
