"""What the reader does about consumers that fail, stall or hang; the real clients are in the integration tests."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from kafka.errors import KafkaError

from pista.kafka import reader as module
from pista.kafka.errors import AccessError, CallTimeoutError, OffsetOutOfRangeError, ReaderStalledError
from pista.kafka.reader import Reader
from pista.kafka.records import Record, Records
from pista.kafka.watchdog import hung

END = 100


class Scripted:
    """A consumer of a log of 100 records, ten a poll, in which ``trouble`` happens before some polls."""

    def __init__(self, trouble: Callable[[int], object]) -> None:
        self._trouble = trouble
        self._position = 0
        self.closed = False

    def assign(self, starts: Mapping[int, int]) -> None:
        self._position = starts[0]

    def poll(self, most: int, seconds: float) -> Records:
        assert not self.closed
        if self._trouble(self._position) == "stall":
            time.sleep(0.01)
            return Records.of(())
        end = min(self._position + min(most, 10), END)
        found = Records.of(Record(0, n, n, None, b"%d" % n) for n in range(self._position, end))
        self._position = end
        return found

    def positions(self) -> dict[int, int]:
        return {0: self._position}

    def close(self) -> None:
        self.closed = True


class Troubles:
    """Makes consumers; the first ``count`` of them do ``what`` at offset 50."""

    def __init__(self, what: Callable[[], object], count: int) -> None:
        self._what, self._count = what, count
        self.made: list[Scripted] = []

    def __call__(self) -> Scripted:
        bad = len(self.made) < self._count
        self.made.append(Scripted(lambda at: self._what() if bad and at == 50 else None))
        return self.made[-1]


def raising(error: Exception) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def spin() -> object:
    while True:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)


def read(reader: Reader, start: int = 0, **caps: Any) -> Any:
    return reader.read({0: start}, {0: END}, **{"max_records": 1000, "max_bytes": 1 << 20, "wait": 0.0, **caps})


@pytest.mark.parametrize("what", [lambda: "stall", raising(KafkaError("once"))], ids=["stall", "error"])
def test_another_consumer_goes_on_where_one_failed(what: Callable[[], object]) -> None:
    make = Troubles(what, 2)
    reader = Reader("scripted", make, "nyc.flights")
    chunk = read(reader)
    assert chunk.records.offsets.tolist() == list(range(END))
    assert len(make.made) == 3
    assert [one.closed for one in make.made] == [True, True, False]
    reader.close()
    assert make.made[-1].closed


def test_three_consumers_that_stall_end_the_read() -> None:
    make = Troubles(lambda: "stall", 100)
    with pytest.raises(ReaderStalledError, match=r"nyc\.flights: 3 consumers delivered .*partition 0 at 50 of 100"):
        read(Reader("scripted", make, "nyc.flights"))
    assert len(make.made) == 3
    assert all(one.closed for one in make.made)


def test_three_consumers_that_fail_end_the_read() -> None:
    make = Troubles(raising(KafkaError("always")), 100)
    reader = Reader("scripted", make, "nyc.flights")
    with pytest.raises(KafkaError, match="always"):
        read(reader)
    assert len(make.made) == 3
    assert read(reader, 60).positions == {0: END}  # with a consumer of its own
    assert len(make.made) == 4


@pytest.mark.parametrize("error", [OffsetOutOfRangeError("gone"), AccessError("no")])
def test_what_another_try_cannot_mend_is_raised_at_once(error: Exception) -> None:
    make = Troubles(raising(error), 100)
    with pytest.raises(type(error)):
        read(Reader("scripted", make, "nyc.flights"))
    assert len(make.made) == 1
    assert make.made[0].closed


def test_a_poll_that_never_returns_ends_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.3)
    make = Troubles(spin, 1)
    reader = Reader("scripted", make, "nyc.flights")
    with pytest.raises(CallTimeoutError, match=r"topic nyc\.flights: reading did not return within 0\.3 s"):
        read(reader)
    assert not hung()
    assert read(reader).positions == {0: END}
    assert len(make.made) == 2


def test_a_close_that_never_returns_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pista.kafka.watchdog.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(Scripted, "close", lambda self: spin())
    reader = Reader("scripted", Troubles(spin, 0), "nyc.flights")
    read(reader)
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 30
    assert not hung()
