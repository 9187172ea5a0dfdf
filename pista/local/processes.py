"""Processes of a local stack: started apart from the terminal, found again by a mark, stopped for certain.

Every process inherits the variable ``PISTA_STACK=<home>:<name>`` from its start, and so do the processes it
starts itself (runs, workers). Whatever happened to the launcher, the mark finds them all, and nothing else.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "PISTA_STACK"
POSTGRES = "postgres"  # its fast shutdown is SIGINT; SIGTERM would wait for clients
TAIL_LINES = 15
PROC = Path("/proc")  # Linux; elsewhere `ps` tells
HAS_PROC = (PROC / "self" / "environ").exists()


class StackError(Exception):
    """The local stack cannot go on; the text says why and what to do, for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class SystemUser:
    """An unprivileged account that root starts a server as."""

    name: str
    uid: int
    gid: int


class Child:
    """A process that this one started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def check(self) -> None:
        """Raise StackError, with the end of its log, if the process has ended."""
        if self.process.poll() is not None:
            raise StackError(f"{self.name} {self.ending}. The end of {self.log}:\n{self.tail()}")

    @property
    def ending(self) -> str:
        """How it ended, as a predicate."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:]) or "  | (empty)"


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    home: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    user: SystemUser | None = None,
) -> Child:
    """Start a process in a session of its own, with its output in ``<home>/logs/<name>.log``.

    Raises:
        StackError: the program cannot be started.
    """
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **(environment or {}), MARK: f"{home}:{name}"},
                cwd=directory or home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(user),
            )
        except OSError as error:
            raise StackError(f"{name} cannot be started ({command[0]}: {error.strerror}).") from error
    return Child(name, process, log)


def run(
    name: str, command: Sequence[str | Path], *, home: Path, directory: Path, user: SystemUser | None = None
) -> None:
    """Run a program to its end, as a part of the process ``name``.

    Raises:
        StackError: it failed; with what it said.
    """
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        env={**os.environ, MARK: f"{home}:{name}"},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        **as_user(user),
    )
    if done.returncode != 0:
        raise StackError(f"{name} cannot be set up in {directory}: {(done.stderr or done.stdout).strip()}")


def as_user(user: SystemUser | None) -> dict[str, Any]:
    """Arguments of ``subprocess`` that run a program as ``user``."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def wait_until(ready: Callable[[], bool], child: Child, seconds: float) -> None:
    """Ask ``ready`` until it is true.

    Raises:
        StackError: the child ended, or is not ready after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        child.check()
        if time.monotonic() > deadline:
            raise StackError(
                f"{child.name} is not ready after {seconds:.0f} s. The end of {child.log}:\n{child.tail()}"
            )
        time.sleep(0.05)


def marked(home: Path) -> dict[int, str]:
    """Live processes of the stack at ``home``: process id to the name of the process or of its ancestor."""
    prefix = f"{MARK}={home}:"
    return {pid: mark.removeprefix(prefix) for pid, mark in marks().items() if mark.startswith(prefix)}


def marks() -> dict[int, str]:
    """The mark ``PISTA_STACK=...`` of every live process that has one and that we may look at."""
    found = _marks_proc() if HAS_PROC else _marks_ps()
    found.pop(os.getpid(), None)
    return found


def _marks_proc() -> dict[int, str]:
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            # processes end while we look, and those of others are none of ours
            with contextlib.suppress(OSError):
                for variable in (entry / "environ").read_bytes().split(b"\0"):
                    if variable.startswith(MARK.encode() + b"="):
                        found[int(entry.name)] = os.fsdecode(variable)
    return found


def _marks_ps() -> dict[int, str]:
    listing = subprocess.run(["/bin/ps", "-axwwE", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    found = {}
    for line in listing.stdout.splitlines():
        match = re.search(rf"\b{MARK}=.*?:[a-z-]+(?=\s|$)", line)
        if match:
            found[int(line.split(maxsplit=1)[0])] = match.group()
    return found


def stop(home: Path, names: Collection[str], children: Collection[Child] = (), *, seconds: float = 15.0) -> list[str]:
    """End every process of ``home`` that is one of ``names``, by force after ``seconds``; return what needed force."""
    forced: set[str] = set()
    ending: dict[int, str] = {}
    deadline = time.monotonic() + seconds
    while True:
        own = {child.process.pid: child.name for child in children if child.process.poll() is None}
        for pid, name in (own | marked(home)).items():
            if name in names and pid not in ending:  # a process may start another while it is told to end
                ending[pid] = name
                _signal(pid, signal.SIGINT if name == POSTGRES else signal.SIGTERM)
        for child in children:
            child.process.poll()  # reaps
        ending = {pid: name for pid, name in ending.items() if is_alive(pid)}
        if not ending:
            for child in children:
                if child.name in names:
                    child.process.wait()
            return sorted(forced)
        if time.monotonic() > deadline:
            for pid, name in ending.items():
                forced.add(name)
                _signal(pid, signal.SIGKILL)
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether the process lives and holds what it opened."""
    # the mark goes before the process does: its ports and files are free only when it is gone or a zombie
    if HAS_PROC:
        try:
            state = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
            # a zombie whose other threads still end has everything open
            return state not in "ZX" or len(list((PROC / str(pid) / "task").iterdir())) > 1
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def free_gigabytes(path: Path) -> float:
    """Free space of the disk that holds ``path``, in GB."""
    return shutil.disk_usage(path).free / 1e9
