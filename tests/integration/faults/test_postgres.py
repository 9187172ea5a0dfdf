"""PostgreSQL restarted, killed, out of connections, out of disk: the drain waits, or ends and another goes on."""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pista.ingest import drain as drain_module

from .conftest import BATCH, Broker, Drill, Server

MakeDrill = Callable[..., Drill]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_postgres_goes_away_and_comes_back(
    make_drill: MakeDrill, broker: Broker, server: Server, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    drill = make_drill(broker.address)
    drill.produce(BATCH * 20)
    drill.start()
    drill.wait_for_batches(2)
    with caplog.at_level(logging.WARNING):
        getattr(server, how)()
        server.start()
        drill.produce(BATCH)
        drill.finish()
    assert "drain of legs" in caplog.text


def test_a_database_that_stays_away_ends_the_drain_and_the_next_goes_on(
    make_drill: MakeDrill, broker: Broker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "PATIENCE_SECONDS", 2.0)
    drill = make_drill(broker.address)
    drill.produce(BATCH * 20)
    drill.start()
    drill.wait_for_batches(2)
    server.kill()
    assert isinstance(drill.end(timeout=60), psycopg.OperationalError)
    server.start()
    drill.finish()


def test_no_connection_left(
    make_drill: MakeDrill, broker: Broker, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    drill = make_drill(broker.address)
    drill.produce(BATCH * 20)
    drill.start()
    drill.wait_for_batches(2)
    with caplog.at_level(logging.WARNING):
        server.execute("ALTER ROLE pista_ingest CONNECTION LIMIT 0")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pista_ingest'")
        drill.wait_until(lambda: "too many connections for role" in caplog.text)
        server.execute("ALTER ROLE pista_ingest CONNECTION LIMIT -1")
        drill.finish()


@pytest.fixture
def small_disk(tmp_path: Path, server: Server, require: Callable[..., None]) -> Iterator[Path]:
    """A file system of 48 MiB that PostgreSQL can write to."""
    folder = server.cluster.root / "small"
    folder.mkdir(mode=0o700)
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", folder], check=False).returncode
        == 0
    )
    require("a file system of one's own", mounted, "mounting one needs root")
    inside = folder / "tables"
    inside.mkdir(mode=0o700)
    if server.cluster.user:
        os.chown(folder, server.cluster.user.uid, server.cluster.user.gid)
        os.chown(inside, server.cluster.user.uid, server.cluster.user.gid)
    yield inside
    server.stop()
    subprocess.run(["umount", folder], check=True)


def test_the_disk_of_the_tables_is_full(
    make_drill: MakeDrill, broker: Broker, server: Server, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    server.execute("GRANT CREATE ON TABLESPACE small TO PUBLIC")
    server.execute("ALTER DATABASE pista SET default_tablespace = small")
    drill = make_drill(broker.address)
    ballast = small_disk.parent / "ballast"
    drill.produce(BATCH * 5)
    drill.start()
    drill.wait_for_batches(2)
    with caplog.at_level(logging.WARNING):
        _fill(ballast)
        drill.produce(BATCH * 60)
        drill.wait_until(lambda: "No space left on device" in caplog.text)
        ballast.unlink()
        drill.finish()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * (1 << 16))
        except OSError:
            pass
