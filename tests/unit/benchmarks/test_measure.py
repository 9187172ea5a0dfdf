"""What a program costs is counted whole: children, memory of the tree, and nothing left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.ingest.measure import Job, ProgramFailedError, run, server_cpu
from pista.local.processes import is_alive

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
# a child that burns, and a parent that waits for it
NESTED = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN.format(seconds=0.4)!r}], check=True)\n"


def program(text: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", text, *arguments]


def test_the_cpu_of_children_counts(tmp_path: Path) -> None:
    usage = run(Job(program(NESTED), {}), tmp_path / "log", 30)
    assert usage.cpu >= 0.4
    assert usage.wall >= 0.4


def test_memory_is_that_of_the_whole_tree(tmp_path: Path) -> None:
    hold = "held = bytearray(60_000_000); import signal; signal.pause()"
    text = f"import subprocess, sys\nheld = bytearray(60_000_000)\nsubprocess.run([sys.executable, '-c', {hold!r}])"
    sights: list[bool] = []

    def seen_whole() -> bool:
        parent = max(psutil.Process().children(), key=psutil.Process.create_time)  # servers of other tests are older
        sights.append(sum(process.memory_info().rss for process in [parent, *parent.children()]) > 120_000_000)
        return any(sights[:-1])  # a sample of the memory lies between two sights

    assert run(Job(program(text), {}, seen_whole), tmp_path / "log", 30).peak_rss > 120_000_000


def test_a_service_is_stopped_when_it_has_finished_and_nothing_stays_behind(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    text = (
        "import pathlib, signal, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        "signal.pause()\n"
    )
    mark = tmp_path / "child"
    run(Job(program(text, str(mark)), {}, lambda: mark.exists() and bool(mark.read_text())), tmp_path / "log", 30)
    child = int(mark.read_text())
    eventually(lambda: not is_alive(child))


@pytest.mark.parametrize(
    ("text", "finished", "sentence"),
    [
        ("print('no such topic'); raise SystemExit(3)", None, "ended with exit code 3"),
        ("print('no such topic')", lambda: False, "ended before it had finished"),
        ("print('no such topic', flush=True); import signal; signal.pause()", None, "did not end within"),
    ],
)
def test_a_failure_says_how_and_shows_the_log(
    tmp_path: Path, text: str, finished: Callable[[], bool] | None, sentence: str
) -> None:
    with pytest.raises(ProgramFailedError, match=rf"(?s){sentence}.*no such topic"):
        run(Job(program(text), {}, finished), tmp_path / "log", 2)


def test_a_server_answers_for_children_that_live_and_that_have_ended(eventually: Callable[..., Any]) -> None:
    living = BURN.format(seconds=0.4) + "import signal; signal.pause()"
    text = NESTED + f"subprocess.run([sys.executable, '-c', {living!r}])"
    with subprocess.Popen(program(text), start_new_session=True) as server:
        try:
            # each burns 0.4 s, less what the system's clock of ten milliseconds leaves out
            eventually(lambda: server_cpu(server.pid) >= 0.7)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
