"""A stack as people run it: `pista up` in a home of the test's own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pista.local import postgres, processes

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 300


class Stack:
    """A stack, and the commands that act on it."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PISTA_")}
        self.environment |= {"PISTA_HOME": str(home), **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pista.cli", *arguments],
            cwd=REPOSITORY,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )

    def do(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> str:
        return self.do("up", "--detach")

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json").stdout)  # type: ignore[no-any-return]

    @property
    def state(self) -> dict[str, Any]:
        return json.loads((self.home / "stack.json").read_text())  # type: ignore[no-any-return]

    @property
    def api_key(self) -> str:
        return str(json.loads((self.home / "credentials.json").read_text())["api_key"])

    def get(self, path: str) -> Any:
        """The JSON that the API answers; None for 404."""
        request = urllib.request.Request(
            self.state["api_url"] + path, headers={"Authorization": f"Bearer {self.api_key}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.status()["postgres_dsn"], autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def kill(self, name: str) -> None:
        for pid, process in processes.marked(self.home).items():
            if process == name:
                os.kill(pid, signal.SIGKILL)

    def kill_everything(self) -> None:
        os.kill(self.state["launcher"], signal.SIGKILL)
        for pid in processes.marked(self.home):
            os.kill(pid, signal.SIGKILL)

    def ports_in_use(self) -> list[int]:
        return [port for port in self.state["ports"].values() if is_open(port)]

    def remove(self) -> None:
        self.run("down")
        subprocess.run(["rm", "-rf", str(postgres.locate(self.home).root)], check=True)


def is_open(port: int) -> bool:
    """Whether somebody listens on that loopback port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(predicate: Callable[[], Any], seconds: float) -> Any:
    """The first true answer of the predicate, which a stack may need some seconds for."""
    deadline = time.monotonic() + seconds
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"not true after {seconds:.0f} s; the last answer was {answer!r}")
        time.sleep(0.2)
    return answer


@pytest.fixture(scope="package")
def runway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One running stack with January on it, whose contracts folder is the tests' own."""
    home = tmp_path_factory.mktemp("runway").resolve()
    datasets = home / "datasets"
    datasets.mkdir()
    for file in (REPOSITORY / "datasets").iterdir():
        (datasets / file.name).write_bytes(file.read_bytes())
    stack = Stack(home / "home", PISTA_DATASETS_DIR=str(datasets))
    try:
        stack.up()
        yield stack
    finally:
        stack.remove()
