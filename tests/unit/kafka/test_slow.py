"""A broker that delivers slowly does not hold back what it delivered."""

from collections.abc import Mapping

import pytest

from pista.kafka import reader
from pista.kafka.reader import Reader
from pista.kafka.records import Record, Records


class Slow:
    """A client that has one more record each second, of a clock that only it moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._offset = 0

    def monotonic(self) -> float:
        return self.now

    def assign(self, starts: Mapping[int, int]) -> None:
        self._offset = starts[0]

    def poll(self, most: int, seconds: float) -> Records:
        self.now += 1.0
        self._offset += 1
        return Records.of([Record(0, self._offset - 1, 0, None, b"{}")])

    def positions(self) -> dict[int, int]:
        return {0: self._offset}

    def close(self) -> None:
        pass


def test_what_was_read_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(reader, "time", slow)
    slow_reader = Reader("slow", lambda: slow, "topic")
    caps = {"max_records": 100, "max_bytes": 1 << 20, "wait": 0.5}
    chunk = slow_reader.read({0: 5}, {0: 50}, **caps, max_seconds=3.0)
    assert chunk.positions == {0: 9}, "the first record, and those of three seconds more"
    assert chunk.records.offsets.tolist() == [5, 6, 7, 8]
    assert slow_reader.read({0: 9}, {0: 50}, **caps).positions == {0: 50}
    slow_reader.close()
