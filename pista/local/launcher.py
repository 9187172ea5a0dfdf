"""`pista up` as a process: it starts the stack, tells what happens, watches, and stops all when it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from pista.contracts.loading import load_datasets
from pista.local.console import Stopwatch, console, progress, summarise
from pista.local.processes import StackError, free_gigabytes, marked
from pista.local.stack import Stack, stop_home
from pista.local.state import Lock, State
from pista.settings import Settings

MINIMUM_FREE_GB = 2.0
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """The user or the system asked the launcher to end."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number


def launch(settings: Settings, months: int) -> NoReturn:
    """Start, replay, serve, and watch until a signal comes.

    Raises:
        StackError: another launcher runs, or a part of the stack cannot start or has ended; everything is stopped.
        ContractError: a contract is wrong.
        Ended: a signal came; everything is stopped.
    """
    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    lock = Lock(home)
    if not lock.acquire():
        raise StackError(already(home))
    for number in ENDINGS:
        signal.signal(number, _end)
    stack = None
    try:
        _check_space(home)
        if left := sorted(set(marked(home).values())):
            console.print(f"An earlier run left {', '.join(left)} behind: stopping.")
            stop_home(home)
        stack = Stack(settings, load_datasets(settings.datasets_dir))
        _serve(stack, months)
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # stopping is not interrupted; kill -9 is left, and the next start
        if stack is not None:
            console.print("Stopping.")
            console.print(stopped(stack.stop()))


def _serve(stack: Stack, months: int) -> NoReturn:
    watch = Stopwatch()
    state = stack.state
    state.launcher, state.ready = os.getpid(), False
    console.print("Starting PostgreSQL, Kafka, Dagster and the API. The first time takes some minutes.")
    with watch.step("servers, schema, topics"):
        stack.start()
    console.print("Publishing flights of 2013.")
    with watch.step("replay"):
        stack.replay(months)
    console.print("Waiting for Dagster and the API.")
    with watch.step("Dagster and API"):
        stack.wait_ready()
    console.print("Waiting until everything is ingested and served.")
    with watch.step("ingestion"), progress("records") as update:
        datasets = stack.wait_served(update)
    summarise(datasets, watch.seconds, state, stack.connections.admin_dsn, stack.credentials.api_key)
    state.ready = True  # last, for who waits for it shows what was said
    state.save(stack.home)
    while True:
        stack.check()
        time.sleep(0.5)


def launch_detached(home: Path, months: int) -> None:
    """Have another process launch, say what it says, and return when the stack serves.

    Raises:
        StackError: a launcher runs already, or the new one ended.
    """
    if is_running(home):
        raise StackError(already(home))
    log = home / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "pista.cli", "up", "--months", str(months)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _follow(launcher, home, log)
    except KeyboardInterrupt:
        launcher.terminate()
        launcher.wait()
        raise


def _follow(launcher: subprocess.Popen[bytes], home: Path, log: Path) -> None:
    with log.open(encoding="utf-8") as said:
        while True:
            ended = launcher.poll() is not None
            state = State.of(home)
            ready = state.ready and state.launcher == launcher.pid
            console.out(said.read(), end="", highlight=False)
            if ended:
                raise StackError(
                    f"The launcher ended with exit code {launcher.returncode}; what it said is above and in {log}."
                )
            if ready:
                launcher.returncode = 0  # it lives on, and nobody waits for it
                console.print(f"\nThe stack goes on in the background; its log is {log}. `pista down` stops it.")
                return
            time.sleep(0.1)


def stop_everything(home: Path) -> str:
    """Stop the launcher of the home and everything that it or an earlier one left; what happened, as a sentence.

    Raises:
        StackError: something does not end.
    """
    launcher = State.of(home).launcher
    running = is_running(home)
    if running and launcher:
        os.kill(launcher, signal.SIGTERM)
        deadline = time.monotonic() + 60.0
        while is_running(home) and time.monotonic() < deadline:
            time.sleep(0.1)
    left = marked(home)
    forced = stop_home(home) if left else []
    if still := marked(home):
        raise StackError(f"These do not end: {', '.join(f'{name} ({pid})' for pid, name in still.items())}.")
    return stopped(forced) if running or left else "Nothing runs."


def stopped(forced: list[str]) -> str:
    """That everything has stopped, and what needed force."""
    return f"Stopped, by force: {', '.join(forced)}." if forced else "Stopped."


def is_running(home: Path) -> bool:
    """Whether a launcher holds the lock of the home."""
    if not (home / "lock").exists():
        return False
    lock = Lock(home)
    taken = not lock.acquire()
    lock.release()
    return taken


def already(home: Path) -> str:
    """That a launcher runs, and what can be done."""
    return (
        f"The stack at {home} runs already, started by process {State.of(home).launcher}: `pista status` shows it, "
        "`pista down` stops it."
    )


def _check_space(home: Path) -> None:
    if (free := free_gigabytes(home)) < MINIMUM_FREE_GB:
        raise StackError(
            f"The disk of {home} has {free:.1f} GB free, and the stack needs {MINIMUM_FREE_GB:.0f} GB: free some, "
            "or set PISTA_HOME to a folder on another disk."
        )


def _end(number: int, _frame: object) -> NoReturn:
    raise Ended(number)
