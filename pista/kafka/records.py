"""A record as the broker delivered it, undecoded."""

from typing import NamedTuple


class Record(NamedTuple):
    """One Kafka record: raw bytes and its place in the log."""

    partition: int
    offset: int
    timestamp: int  # milliseconds since 1970 UTC; -1 where the record has none
    key: bytes | None
    value: bytes | None  # None: a tombstone
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")
