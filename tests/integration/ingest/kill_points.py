"""The steps of the transaction at which a drain can be killed, and how. Not a test.

Each step is a place in the code of ``pista.ingest``; the process kills itself there with SIGKILL, as a kernel
without memory would. ``commit_unacknowledged`` is not here, for it lies on the wire: see ``commit_proxy``.
"""

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import psycopg

from pista.ingest import drain, ledger, rows

HERE = ("before_copy", "during_copy", "after_merge", "before_ledger_update", "after_commit_before_report")
ON_THE_WIRE = "commit_unacknowledged"
STEPS = (*HERE, ON_THE_WIRE)


def kill_at(step: str, occurrence: int) -> None:
    """Have this process die when it comes to that step for the ``occurrence``-th time, counted from 1."""
    count = itertools.count(1)

    def die() -> None:
        if next(count) == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    match step:
        case "before_copy":
            _wrap(rows, "try_stage", before=die)
        case "during_copy":
            write = psycopg.Copy.write

            def half(self: psycopg.Copy, data: bytes) -> None:
                write(self, data[: len(data) // 2])
                self.connection.pgconn.flush()
                die()
                write(self, data[len(data) // 2 :])

            psycopg.Copy.write = half  # type: ignore[method-assign,assignment]
        case "after_merge":
            _wrap(rows, "_merge", after=die)
        case "before_ledger_update":
            _wrap(ledger, "advance", before=die)
        case "after_commit_before_report":
            _wrap(drain, "commit_batch", after=die)
        case _:
            raise ValueError(f"no step is called {step}; valid: {', '.join(HERE)}")


def _wrap(
    module: Any, name: str, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
) -> None:
    function = getattr(module, name)  # AttributeError where the step was renamed: the test must not pass without it

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        result = function(*args, **kwargs)
        after()
        return result

    setattr(module, name, wrapped)
