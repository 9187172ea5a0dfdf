"""kill -9 at every step of the transaction: the next drain goes on where the ledger stands; no row is lost or doubled.

``--kills N`` says how many; ``make soak`` asks for the 200 of the table in docs/reference/faults.md.
"""

import itertools
import pickle
import random
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from pista.settings import Settings

from .commit_proxy import CommitProxy
from .conftest import Lab, event
from .kill_points import ON_THE_WIRE, STEPS

PROGRAM = Path(__file__).with_name("drain_process.py")
KEYS = 5_000
BATCH = 300  # records, so that a drain has many transactions to be killed in
PRODUCED_AT_ONCE = 1_500
RACERS = 2
SECONDS_A_DRAIN = 120.0


def start(lab: Lab, settings: Settings, path: Path, run: str, *kill_at: str) -> "subprocess.Popen[str]":
    path.write_bytes(pickle.dumps((lab.dataset, settings)))
    command = [sys.executable, str(PROGRAM), str(path), run, "0/1", *kill_at]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@dataclass
class Soak:
    """Two drains that race for one dataset, each killed at a step and followed by another."""

    lab: Lab
    folder: Path
    steps: "SimpleQueue[str]"
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    produced: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Until every step of the queue has killed a drain."""
        racers = [threading.Thread(target=self._race, args=(number,)) for number in range(RACERS)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        if self.errors:
            raise self.errors[0]

    def _race(self, number: int) -> None:
        try:
            for turn in itertools.count():
                if self.steps.empty():
                    return
                step = self.steps.get()
                self._produce()
                if self.kill(step, self.rng.randint(1, 3), f"racer{number}-{turn}") == -9:
                    self.killed[step] += 1
                else:  # it lost its races, or found nothing left to do: no kill, so another has to die there
                    self.survived[step] += 1
                    self.steps.put(step)
                assert self.survived.total() < 40 + 2 * self.killed.total(), f"drains survive: {self.survived}"
        except BaseException as error:
            self.errors.append(error)

    def _produce(self) -> None:
        with self._lock:  # so that a key's numbers grow along its partition
            numbers = range(self.produced, self.produced + PRODUCED_AT_ONCE)
            self.produced += PRODUCED_AT_ONCE
            self.lab.produce(event(f"k{number % KEYS}", pax=number) for number in numbers)

    def kill(self, step: str, occurrence: int, run: str) -> int:
        """Have a drain die at that step of its ``occurrence``-th transaction; the exit code, -9 if it did."""
        settings = self.lab.settings.model_copy(update={"batch_max_records": BATCH, "drain_idle_seconds": 1.0})
        path = self.folder / run
        if step != ON_THE_WIRE:
            process = start(self.lab, settings, path, run, step, str(occurrence))
            return self._wait(process)
        dsn = conninfo_to_dict(str(settings.ingest_dsn.get_secret_value()))  # type: ignore[union-attr]
        proxy = CommitProxy(int(dsn["port"]))
        try:
            through = SecretStr(make_conninfo(**{**dsn, "port": proxy.port}))
            process = start(self.lab, settings.model_copy(update={"ingest_dsn": through}), path, run)
            proxy.kill_after(occurrence, process.pid)
            return self._wait(process)
        finally:
            proxy.close()

    def _wait(self, process: "subprocess.Popen[str]") -> int:
        try:
            process.communicate(timeout=SECONDS_A_DRAIN)
        finally:
            process.kill()
            process.wait()
        return int(process.returncode)


@pytest.mark.timeout(3600)
def test_kills_at_every_step_lose_nothing_and_double_nothing(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills = int(request.config.getoption("--kills"))
    steps: SimpleQueue[str] = SimpleQueue()
    for step in itertools.islice(itertools.cycle(STEPS), kills):
        steps.put(step)
    soak = Soak(lab, tmp_path, steps, random.Random(9))
    soak.run()
    assert soak.killed.total() == kills
    assert set(soak.killed) == set(STEPS), "a step at which nobody was killed proves nothing"

    lab.drain()

    rows = dict(lab.query("SELECT id, pax FROM curated.legs"))
    newest = {f"k{number % KEYS}": number for number in range(soak.produced)}
    missing = soak.produced - lab.value('SELECT count(*) FROM (SELECT DISTINCT partition, "offset" FROM raw.legs) d')
    doubled = lab.value("SELECT count(*) FROM raw.legs") - soak.produced + missing
    for step in STEPS:
        print(f"| `{step}` | {soak.killed[step]} |")
    print(f"{soak.produced} records, {kills} kills: {missing} missing, {doubled} doubled")
    assert (missing, doubled) == (0, 0)
    assert rows == newest
    assert lab.value("SELECT row_count FROM catalog.versions WHERE dataset = 'legs'") == len(newest)
    ranges = lab.query("SELECT partition, start_offset, end_offset FROM ingest.ranges ORDER BY partition, start_offset")
    for (partition, _, end), (following, start_offset, _) in itertools.pairwise(ranges):
        assert partition != following or end == start_offset, "committed ranges overlap or leave a gap"
    lab.reconcile()


def test_the_sensor_can_tell_a_killed_drain_from_a_living_one(lab: Lab, tmp_path: Path, eventually: object) -> None:
    lab.produce([event("a")])
    process = start(lab, lab.settings, tmp_path / "drain", "killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    eventually(lambda: lab.query("SELECT 1 FROM ingest.drains WHERE run_id = 'killed'"))  # type: ignore[operator]
    process.kill()
    process.wait()
    process.stdout.close()
    assert lab.query("SELECT ended_at, outcome FROM ingest.drains") == [(None, None)]
    lab.drain()
    assert lab.query("SELECT outcome FROM ingest.drains WHERE ended_at IS NOT NULL") == [("idle",)]


def test_a_commit_whose_answer_never_came_is_settled_by_the_ledger(lab: Lab, tmp_path: Path) -> None:
    lab.produce(event(f"k{number}") for number in range(BATCH))
    assert Soak(lab, tmp_path, SimpleQueue(), random.Random()).kill(ON_THE_WIRE, 1, "wire") == -9
    lab.drain()
    assert lab.value("SELECT count(*) FROM raw.legs") == BATCH
