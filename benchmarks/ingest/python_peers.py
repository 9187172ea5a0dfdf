"""Peers in Python, dlt and Pathway, each in an environment of its own with locked versions."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from benchmarks.ingest.cache import cached
from benchmarks.ingest.client import PeerMissingError
from benchmarks.ingest.measure import Job
from benchmarks.ingest.servers import TABLE, Database
from benchmarks.ingest.topic import Topic

PEERS = Path(__file__).resolve().parents[1] / "peers"


@dataclass(frozen=True, slots=True)
class Dlt:
    """dlt with Arrow tables."""

    name = "dlt"
    kind = "peer"
    configuration = (
        "dlt 1.31.0, a resource of Arrow tables of 50,000 messages read by confluent-kafka, CSV files by COPY, merge "
        "by `delete-insert` with `primary_key` and `dedup_sort`, one process to normalise; at least once"
    )
    relation = TABLE

    def prepare(self, home: Path) -> None:
        """Make its environment."""
        environment("dlt")

    def job(self, database: Database, topic: Topic) -> Job:
        """One pipeline run."""
        database.create_table()
        variables = {
            "BENCH_DSN": database.admin_dsn,
            "DLT_DATA_DIR": str(database.servers.home / database.name),
            "NORMALIZE__WORKERS": "1",  # more are processes, which two cores do not feed
            "LOAD__DELETE_COMPLETED_JOBS": "true",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
        }
        return Job([environment("dlt"), PEERS / "dlt_load.py", database.servers.bootstrap, topic.name], variables)


@dataclass(frozen=True, slots=True)
class Pathway:
    """Pathway with a snapshot table."""

    name = "Pathway"
    kind = "peer"
    configuration = (
        "Pathway 0.33.0, JSON from Kafka in static mode, snapshot table with primary key, sorted by event time, "
        "days as text (it has no type for them); at least once in the free tier"
    )
    relation = TABLE

    def prepare(self, home: Path) -> None:
        """Make its environment."""
        environment("pathway")

    def job(self, database: Database, topic: Topic) -> Job:
        """One run over what the topic has."""
        database.create_table(days_as_text=True)
        variables = {"BENCH_POSTGRES": json.dumps(conninfo_to_dict(database.admin_dsn)), "PATHWAY_THREADS": "2"}
        program = PEERS / "pathway_load.py"
        return Job([environment("pathway"), program, database.servers.bootstrap, topic.name], variables)


def environment(peer: str) -> Path:
    """The interpreter of an environment with the peer's locked packages, made once.

    Raises:
        PeerMissingError: the packages cannot be installed.
    """
    locked = PEERS / f"{peer}.txt"
    digest = hashlib.sha256(locked.read_bytes() + sys.version.encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        uv = Path(sys.executable).with_name("uv")
        _run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, folder])
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "--python", folder / "bin" / "python"]
        try:
            _run([*install, "--requirement", locked])
        except PeerMissingError:
            shutil.rmtree(folder)
            raise

    return cached(f"{peer}-{digest}", make) / "bin" / "python"


def _run(command: list[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerMissingError(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()[-500:]}")
