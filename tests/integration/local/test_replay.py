"""The replay publishes every event once, however often and however rudely it is interrupted."""

import collections
import dataclasses
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from pista.contracts.loading import load_datasets
from pista.kafka.python import python_reader
from pista.kafka.topics import describe_topics, ensure_topics
from pista.local.processes import StackError
from pista.local.replay import replay

REPOSITORY = Path(__file__).resolve().parents[3]
EVENTS = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 2_226, "flights": 80_491}  # of January

# what `pista replay` does, on topics of the test's own
PROGRAM = """
import sys
from tests_replay import own_datasets
from pista.local.replay import replay
replay({"bootstrap_servers": sys.argv[1]}, own_datasets(sys.argv[2]), 1, lambda done, total: print(done, flush=True))
"""


def own_datasets(prefix):
    """The repository's contracts, with topics of the test's own."""
    datasets = load_datasets(REPOSITORY / "datasets")
    return {
        name: dataclasses.replace(dataset, topic=f"{prefix}.{name}")
        for name, dataset in datasets.items()
        if dataset.is_source
    }


def ignore(done, total):
    """No progress bar."""


@pytest.fixture
def options(kafka_server):
    return {"bootstrap_servers": kafka_server}


@pytest.fixture
def datasets(options, create_topic):
    datasets = own_datasets(f"test{secrets.token_hex(4)}")
    ensure_topics(options, datasets.values())
    return datasets


def published(options, topic):
    """Every committed record of a topic."""
    state = describe_topics(options, [topic])[topic]
    reader = python_reader(options, topic)
    records, positions = [], dict(state.beginning)
    while positions != state.end:
        read = reader.read(positions, state.end, max_records=100_000, max_bytes=64 << 20, wait=1.0)
        positions = {partition: max(read.positions[partition], positions[partition]) for partition in positions}
        records += read.records
    reader.close()
    return records


def start_replay(kafka_server, prefix):
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + PROGRAM.replace(
        "tests_replay", Path(__file__).stem
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, kafka_server, prefix], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_half_way_and_run_again_every_event_is_there_once(kafka_server, options, datasets):
    prefix = datasets["flights"].topic.partition(".")[0]
    for stop_after in (10_000, 40_000):
        process = start_replay(kafka_server, prefix)
        for line in process.stdout:
            if int(line) >= stop_after:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    report = replay(options, datasets, 1, ignore)
    assert 0 < report.events < sum(EVENTS.values())
    assert replay(options, datasets, 1, ignore).events == 0

    found = {name: published(options, dataset.topic) for name, dataset in datasets.items()}
    assert {name: len(records) for name, records in found.items()} == EVENTS
    steps = collections.Counter((record.key, orjson.loads(record.value)["status"]) for record in found["flights"])
    assert set(steps.values()) == {1}


def test_a_second_replay_fences_the_first_off(kafka_server, options, datasets):
    prefix = datasets["flights"].topic.partition(".")[0]
    process = start_replay(kafka_server, prefix)
    process.stdout.readline()
    replay(options, datasets, 1, ignore)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "The replay has stopped: another one took over" in errors
    found = {name: len(published(options, dataset.topic)) for name, dataset in datasets.items()}
    assert found == EVENTS


def test_a_topic_that_was_made_anew_is_filled_again(options, datasets, create_topic):
    only = {"airlines": datasets["airlines"]}
    assert replay(options, only, 1, ignore).events == EVENTS["airlines"]
    create_topic(name="elsewhere" + only["airlines"].topic)
    moved = {"airlines": dataclasses.replace(only["airlines"], topic="elsewhere" + only["airlines"].topic)}
    assert replay(options, moved, 1, ignore).events == EVENTS["airlines"]


def test_a_missing_topic_is_named(options):
    with pytest.raises(StackError, match=r"No topic nowhere\.airlines"):
        replay(options, {"airlines": own_datasets("nowhere")["airlines"]}, 1, ignore)
