"""kill -9 at any moment: the next drain goes on where the ledger stands, and no row is missing or doubled."""

import itertools
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

from .conftest import Lab, event

RECORDS = 30_000
KILLS = 20


def start(lab: Lab, path: Path, run: str) -> "subprocess.Popen[str]":
    settings = lab.settings.model_copy(update={"batch_max_records": 500, "drain_idle_seconds": 1.0})
    path.write_bytes(pickle.dumps((lab.dataset, settings)))
    program = Path(__file__).with_name("drain_process.py")
    return subprocess.Popen([sys.executable, str(program), str(path), run], stdout=subprocess.PIPE, text=True)


def test_twenty_kills_at_random_moments_lose_nothing_and_double_nothing(lab: Lab, tmp_path: Path) -> None:
    rng = random.Random(9)
    # every key twice, so that a batch loaded again would be seen in raw and a lost one in the second pax
    lab.produce(event(f"k{i}", pax=lap) for lap in range(2) for i in range(RECORDS // 2))
    ended_early = 0
    for number in range(KILLS):
        process = start(lab, tmp_path / "drain", f"run{number}")
        assert process.stdout is not None
        for line in process.stdout:  # until it is in the middle of its work
            if line.startswith("batch"):
                break
            ended_early += line.startswith("ended")
        time.sleep(rng.uniform(0, 0.15))  # a random moment within the transactions is the point
        process.kill()
        process.wait()
        process.stdout.close()
    assert ended_early < KILLS // 2, "the drains were done before they could be killed; publish more records"

    lab.drain()

    assert lab.value("SELECT count(*) FROM raw.legs") == RECORDS
    assert lab.value('SELECT count(*) FROM (SELECT DISTINCT partition, "offset" FROM raw.legs) d') == RECORDS
    assert lab.query("SELECT count(*), count(DISTINCT id), min(pax), max(pax) FROM curated.legs") == [
        (RECORDS // 2, RECORDS // 2, 1, 1)
    ]
    assert lab.value("SELECT row_count FROM catalog.versions WHERE dataset = 'legs'") == RECORDS // 2
    ranges = lab.query("SELECT partition, start_offset, end_offset FROM ingest.ranges ORDER BY partition, start_offset")
    for (partition, _, end), (following, start_offset, _) in itertools.pairwise(ranges):
        assert partition != following or end == start_offset, "committed ranges overlap or leave a gap"
    lab.reconcile()


def test_the_sensor_can_tell_a_killed_drain_from_a_living_one(lab: Lab, tmp_path: Path, eventually: object) -> None:
    lab.produce([event("a")])
    process = start(lab, tmp_path / "drain", "killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    eventually(lambda: lab.query("SELECT 1 FROM ingest.drains WHERE run_id = 'killed'"))  # type: ignore[operator]
    process.kill()
    process.wait()
    process.stdout.close()
    assert lab.query("SELECT ended_at, outcome FROM ingest.drains") == [(None, None)]
    lab.drain()
    assert lab.query("SELECT outcome FROM ingest.drains WHERE ended_at IS NOT NULL") == [("idle",)]
