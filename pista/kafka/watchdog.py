"""Deadlines that hold although a client's call never returns.

A client is used in a thread of its own, a ``Worker``; who asks waits for the answer no longer than the
deadline, and then leaves the thread behind. See docs/decisions/0006-deadlines-around-kafka-calls.md.
"""

import concurrent.futures
import contextlib
import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from pista.kafka.errors import CallTimeoutError

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_SECONDS = 5.0
GRACE_SECONDS = 1.0  # in which an abandoned thread of Python code ends by the exception that it is sent
MOST_ABANDONED = 16  # threads that hang; a process with so many makes no more


class _AbandonedError(BaseException):
    """Ends the Python code of a thread that nobody waits for."""


_lock = threading.Lock()
_abandoned: dict[threading.Thread, str] = {}


def hung() -> list[str]:
    """The calls that hang in this process: abandoned, and their threads still there."""
    with _lock:
        for thread in [thread for thread in _abandoned if not thread.is_alive()]:
            del _abandoned[thread]
        return list(_abandoned.values())


class Worker:
    """Runs calls one after the other in a daemon thread of its own, each with a deadline."""

    def __init__(self, subject: str) -> None:
        """``subject`` says what the calls are about, for errors: ``topic nyc.flights``.

        Raises:
            CallTimeoutError: so many calls hang in this process that it makes no more.
        """
        hanging = hung()
        if len(hanging) >= MOST_ABANDONED:
            raise CallTimeoutError(
                f"{subject}: not asked, because {len(hanging)} calls to Kafka hang in this process, "
                f"the last one {hanging[-1]}. Restart the process."
            )
        self._subject = subject
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._beat_at = 0.0
        self._open = True
        self._thread = threading.Thread(target=self._serve, name=f"kafka, {subject}", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Called from within a call: it is at work, and its deadline starts anew."""
        self._beat_at = time.monotonic()

    def call(self, what: str, seconds: float, function: Callable[[], T]) -> T:
        """The function's answer, computed in the worker's thread.

        Args:
            what: the call's name, for the error.
            seconds: from the call's begin, or from its last ``beat``, to its deadline.
            function: without arguments.

        Raises:
            CallTimeoutError: the deadline passed. The worker is of no more use, and neither is what it used.
        """
        assert self._open, "an ended worker is not used again"
        answer: Future[T] = Future()
        self.beat()
        self._calls.put((answer, function))
        while not concurrent.futures.wait([answer], self._beat_at + seconds - time.monotonic()).done:
            if time.monotonic() >= self._beat_at + seconds:
                self._abandon(f"{what} ({self._subject})")
                raise CallTimeoutError(f"{self._subject}: {what} did not return within {seconds:g} s and was abandoned")
        return answer.result()

    def end(self, last: Callable[[], object] | None = None) -> None:
        """Run a last call, and end the thread; a call that fails or takes over 5 s is logged and left behind."""
        if not self._open:
            return
        if last is not None:
            try:
                self.call("closing", CLOSE_SECONDS, last)
            except Exception as error:  # whatever it is: what was to be closed is not used again
                log.warning("%s: closing: %s: %s", self._subject, type(error).__name__, error)
        self._open = False
        self._calls.put(None)

    def _abandon(self, what: str) -> None:
        self._open = False
        self._calls.put(None)
        with _lock:
            _abandoned[self._thread] = what
        # a loop in Python code ends by this; a call that waits in C code ends when it returns
        assert self._thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self._thread.ident), ctypes.py_object(_AbandonedError)
        )
        self._thread.join(GRACE_SECONDS)
        log.warning(
            "abandoned the call %s; its thread %s", what, "still hangs" if self._thread.is_alive() else "has ended"
        )

    def _serve(self) -> None:
        with contextlib.suppress(_AbandonedError):
            while (call := self._calls.get()) is not None:
                answer, function = call
                try:
                    answer.set_result(function())
                except _AbandonedError:
                    raise
                except BaseException as error:  # it is raised where the answer is waited for
                    answer.set_exception(error)
                del call, answer, function  # what they hold must not live until the next call
