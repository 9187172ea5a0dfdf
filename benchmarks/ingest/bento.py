"""Bento, the free successor of Benthos, built from its Go module with the components that the pipeline has."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ingest.cache import cached
from benchmarks.ingest.client import PeerMissingError
from benchmarks.ingest.groups import group_finished
from benchmarks.ingest.measure import Job
from benchmarks.ingest.servers import TABLE, Database
from benchmarks.ingest.topic import Topic

SOURCE = Path(__file__).resolve().parents[1] / "peers" / "bento"
PROGRAM = "bento-1.10.0"


@dataclass(frozen=True, slots=True)
class Bento:
    """Bento with SQL of the user's own."""

    name = "Bento"
    kind = "peer"
    configuration = (
        "Bento 1.10.0, `kafka_franz`, batches of 5,000 as one JSON array, `sql_raw` whose statement parses it in "
        "PostgreSQL and upserts; at least once"
    )
    relation = TABLE

    def prepare(self, home: Path) -> None:
        """Build it."""
        if shutil.which("go") is None:
            raise PeerMissingError("it is built from source, and there is no `go` on the path.")
        program()

    def job(self, database: Database, topic: Topic) -> Job:
        """The pipeline as a service."""
        database.create_table()
        variables = {
            "BENCH_KAFKA": database.servers.bootstrap,
            "BENCH_TOPIC": topic.name,
            "BENCH_GROUP": database.name,
            "BENCH_DSN": f"{database.admin_dsn}?sslmode=disable",
        }
        finished = group_finished(database.servers.bootstrap, database.name, topic)
        return Job([program(), "--config", SOURCE / "flights.yaml"], variables, finished)


def program() -> Path:
    """The program, built once.

    Raises:
        PeerMissingError: it cannot be built.
    """

    def build(folder: Path) -> None:
        command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "bento"), "."]
        done = subprocess.run(command, check=False, cwd=SOURCE, capture_output=True, text=True)
        if done.returncode != 0:
            raise PeerMissingError(f"go build failed: {done.stderr.strip()[-500:]}")

    return cached(PROGRAM, build) / "bento"
