"""What a program costs: CPU of its whole process tree, wall time, the most memory; and the CPU of a server meanwhile.

CPU seconds are user and system time. Those of a program that has ended come from the system's own account of the
process and of the children it waited for, so nothing is missed between two samples.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.05  # memory is looked at this often
STOP_SECONDS = 20.0
LOG_LINES = 25


class ProgramFailedError(Exception):
    """A program that was to be measured failed; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Job:
    """A program to be measured."""

    command: Sequence[str | Path]
    environment: Mapping[str, str]
    finished: Callable[[], bool] | None = None  # of a service, which does not end by itself; None: it ends


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program took from its start to its end."""

    cpu: float  # seconds, user and system, children included
    wall: float  # seconds; of a service until it had finished
    peak_rss: int  # bytes, the sum over the process tree at its greatest


def run(job: Job, log: Path, timeout: float) -> Usage:
    """Run a program to its end, or a service until it has finished, and account for it.

    Raises:
        ProgramFailedError: it failed, or has not finished after ``timeout`` seconds.
    """
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in job.command],
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        tree = psutil.Process(process.pid)
        peak, told_to_stop, wall = 0, 0.0, 0.0
        while True:
            peak = max(peak, tree_rss(tree))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            now = time.monotonic()
            if not told_to_stop and job.finished is not None and job.finished():
                told_to_stop, wall = now, now - began
                process.terminate()
            if now - began > timeout or (told_to_stop and now - told_to_stop > STOP_SECONDS):
                raise ProgramFailedError(f"{_name(job)} did not end within {now - began:.0f} s.")
            time.sleep(SAMPLE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 and not told_to_stop:
            raise ProgramFailedError(f"{_name(job)} ended with exit code {process.returncode}.")
        if job.finished is not None and not told_to_stop:
            raise ProgramFailedError(f"{_name(job)} ended before it had finished.")
        return Usage(usage.ru_utime + usage.ru_stime, wall or time.monotonic() - began, peak)
    except ProgramFailedError as error:
        raise ProgramFailedError(f"{error} The end of its log:\n{_tail(log)}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):  # also what the program left behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tree_rss(root: psutil.Process) -> int:
    """Resident bytes of a process and its descendants at this moment."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


def server_cpu(pid: int) -> float:
    """CPU seconds of a server so far: of its process, its children, and those of them that have ended (Linux)."""
    root = psutil.Process(pid)
    while True:
        own = root.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in root.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
        # a child that ended meanwhile may be in neither sum or in both
        after = root.cpu_times()
        if (after.children_user, after.children_system) == (own.children_user, own.children_system):
            return float(total)


def _name(job: Job) -> str:
    return Path(job.command[0]).name


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  | {line}" for line in lines[-LOG_LINES:])
