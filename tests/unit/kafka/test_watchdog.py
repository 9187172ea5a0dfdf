"""A deadline holds whatever the call does; what hangs is left behind, named, and counted."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pista.kafka import watchdog
from pista.kafka.errors import CallTimeoutError
from pista.kafka.watchdog import Worker, hung


@pytest.fixture(autouse=True)
def nothing_left(eventually: Callable[..., Any]) -> Iterator[None]:
    yield
    eventually(lambda: not hung())


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("topic nyc.flights")
    yield worker
    worker.end()


def spin() -> None:
    while True:
        pass


def test_answers_and_errors_come_through(worker: Worker) -> None:
    assert worker.call("adding", 5, lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        worker.call("dividing", 5, lambda: 1 / 0)
    with pytest.raises(TimeoutError, match="its own"):  # not taken for a deadline
        worker.call("waiting", 5, lambda: (_ for _ in ()).throw(TimeoutError("its own")))
    caller = threading.get_ident()
    assert len({worker.call("asking", 5, threading.get_ident) for _ in range(3)} - {caller}) == 1


def test_a_loop_that_never_ends_is_named_and_ended(worker: Worker) -> None:
    with pytest.raises(CallTimeoutError, match=r"topic nyc\.flights: polling did not return within 0\.2 s"):
        worker.call("polling", 0.2, spin)
    assert not hung()


def test_a_call_that_hangs_outside_python_is_counted_until_it_returns(
    worker: Worker, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.1)
    release = threading.Event()
    with pytest.raises(CallTimeoutError):
        worker.call("polling", 0.1, release.wait)
    assert hung() == ["polling (topic nyc.flights)"]
    release.set()
    eventually(lambda: not hung())


def test_a_call_that_says_that_it_is_at_work_may_take_long(worker: Worker) -> None:
    def work() -> str:
        for _ in range(10):
            time.sleep(0.1)
            worker.beat()
        return "done"

    assert worker.call("reading", 0.9, work) == "done"


def test_closing_is_bounded_and_never_raises(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "CLOSE_SECONDS", 0.1)
    worker.end(spin)
    worker.end(spin)  # nothing more to do
    other = Worker("topic nyc.weather")
    other.end(lambda: 1 / 0)


def test_a_process_in_which_too_many_calls_hang_makes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(watchdog, "MOST_ABANDONED", 2)
    release = threading.Event()
    for _ in range(2):
        with pytest.raises(CallTimeoutError):
            Worker("topic nyc.flights").call("polling", 0.01, release.wait)
    with pytest.raises(CallTimeoutError, match=r"2 calls to Kafka hang in this process.*Restart the process"):
        Worker("topic nyc.weather")
    release.set()
