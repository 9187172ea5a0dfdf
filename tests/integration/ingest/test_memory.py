"""A drain's memory is bounded by the caps of a batch, whatever lies on the topic."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from .conftest import Lab

SMALL, LARGE = 200_000, 800_000  # records; a batch holds 50,000
PROGRAM = Path(__file__).with_name("drain_process.py")
MIB = 1 << 20


def publish(lab: Lab, first: int, count: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": lab.settings.kafka_bootstrap,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for number in range(first, first + count):
        value = json.dumps({"id": f"k{number}", "state": "on", "day": "2013-01-01", "pax": number})
        producer.produce(lab.dataset.topic, key=str(number), value=value)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def peak_of_a_drain(lab: Lab, path: Path, run: str) -> tuple[float, float]:
    """MiB of a process that has imported everything, and at its peak while it drains what is there."""
    settings = lab.settings.model_copy(update={"drain_idle_seconds": 0.5})
    path.write_bytes(pickle.dumps((lab.dataset, settings)))
    done = subprocess.run([sys.executable, PROGRAM, path, run], capture_output=True, text=True, check=True, timeout=500)
    assert "ended idle" in done.stdout
    base, peak = (int(number) / 1024 for number in re.findall(r"^(?:base|peak) (\d+) KiB$", done.stdout, re.MULTILINE))
    return base, peak


def cap(lab: Lab, base: float) -> float:
    """The formula of docs/reference/ingestion.md, in MiB."""
    settings = lab.settings
    return base + 2 * (7 * settings.batch_max_bytes / MIB + settings.batch_max_records / 1024) + 128


@pytest.mark.timeout(900)
def test_memory_is_the_same_for_any_backlog(append_lab: Lab, tmp_path: Path) -> None:
    publish(append_lab, 0, SMALL)
    base, small = peak_of_a_drain(append_lab, tmp_path / "drain", "small")
    publish(append_lab, SMALL, LARGE)
    _, large = peak_of_a_drain(append_lab, tmp_path / "drain", "large")
    assert append_lab.value("SELECT count(*) FROM raw.facts") == SMALL + LARGE
    assert append_lab.value("SELECT max(records) FROM ingest.batches") == append_lab.settings.batch_max_records
    print(f"base {base:.0f}, {SMALL} records {small:.0f}, {LARGE} records {large:.0f} MiB")
    assert large < 1.25 * small
    assert large < cap(append_lab, base)


def test_large_records_stay_within_the_cap(append_lab: Lab, tmp_path: Path) -> None:
    append_lab.settings = append_lab.settings.model_copy(update={"batch_max_bytes": 8 * MIB})
    note = "x" * 100_000  # of a field that the contract does not know, so only raw keeps it
    append_lab.produce(
        (f"k{n}".encode(), json.dumps({"id": f"k{n}", "day": "2013-01-01", "note": note}).encode()) for n in range(600)
    )
    base, peak = peak_of_a_drain(append_lab, tmp_path / "drain", "large")
    batches, largest = append_lab.query("SELECT count(*), max(bytes) FROM ingest.batches")[0]
    assert append_lab.value("SELECT count(*) FROM raw.facts") == 600
    print(f"base {base:.0f}, peak {peak:.0f} MiB, {batches} batches of up to {largest / MIB:.0f} MiB")
    assert peak < cap(append_lab, base)
