"""What a local stack remembers under its home: credentials, ports, what runs, and who may start it."""

import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from pista.local.processes import StackError

# below the range that systems give to outgoing connections, where a port that is free now is taken a moment later
PORTS = range(20000, 32000)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Secrets of one local stack, made at its first start; all are URL-safe."""

    postgres: str
    pista_ingest: str
    pista_api: str
    dagster: str
    api_key: str

    @classmethod
    def of(cls, home: Path) -> Self:
        """Those of the stack at ``home``, made if there are none yet."""
        path = home / "credentials.json"
        if not path.exists():
            made = {name: secrets.token_hex(16) for name in ("postgres", "pista_ingest", "pista_api", "dagster")}
            write_private(path, made | {"api_key": f"pista_demo_{secrets.token_hex(16)}"})
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise StackError(
                f"{path} is not what `pista up` wrote ({error}). Restore it, or delete {home} to start anew."
            ) from error


@dataclass(slots=True)
class State:
    """What runs; written to ``stack.json`` as it changes."""

    launcher: int = 0  # process id of `pista up`
    ready: bool = False
    step: str = ""  # what it is doing
    api_url: str = ""
    dagster_url: str = ""
    kafka_bootstrap: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)  # name to process id

    @classmethod
    def of(cls, home: Path) -> Self:
        """That of the stack at ``home``; blank where none was started yet."""
        try:
            return cls(**json.loads((home / "stack.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError):
            return cls()  # another version's, or none: only the choice of ports is lost

    def save(self, home: Path) -> None:
        """Write it, readable by its owner only."""
        write_private(home / "stack.json", asdict(self))


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that only its owner can read, at once or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with open(unfinished, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(content, file, indent=2)
    unfinished.replace(path)


class Lock:
    """Held by the one `pista up` of a home for as long as it lives; the system drops it with the process."""

    def __init__(self, home: Path) -> None:
        self._path = home / "lock"
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take it; False if another process has it."""
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def choose_ports(state: State, fixed: Mapping[str, int], preferred: Mapping[str, int], names: list[str]) -> None:
    """Fill ``state.ports``: a fixed port as it is, else the last one, else the preferred one, else any free one.

    Raises:
        StackError: a fixed port is taken.
    """
    chosen: dict[str, int] = {}
    for name in names:
        if name in fixed:
            if not is_free(fixed[name]):
                variable = f"PISTA_{name.upper()}_PORT"
                raise StackError(
                    f"Port {fixed[name]} of {variable} is taken by another program: end it, give another port, "
                    f"or unset {variable} and a free one is found."
                )
            chosen[name] = fixed[name]
            continue
        wanted = [port for port in (state.ports.get(name), preferred.get(name)) if port]
        chosen[name] = next((p for p in wanted if is_free(p) and p not in chosen.values()), 0) or free_port(chosen)
    state.ports = chosen


def free_port(taken: Mapping[str, int] | None = None) -> int:
    """A loopback port that nobody listens on at this moment, and that is not in ``taken``."""
    for port in random.sample(PORTS, 100):
        if port not in (taken or {}).values() and is_free(port):
            return port
    raise StackError(f"No free port was found between {PORTS.start} and {PORTS.stop}.")


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, so that TIME_WAIT does not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
