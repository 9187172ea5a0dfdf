"""Ten groups of datasets drain at once, a process each, while a mart is built and maintenance runs: nothing starves."""

import json
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from confluent_kafka import Producer

from dagster_project.build import build_defs
from dagster_project.resources import Platform
from pista.contracts.dataset import Column, Dataset, Kind, LogicalType, MartInput
from pista.ingest.reconcile import reconcile
from pista.settings import Settings
from pista.warehouse.connection import connect
from pista.warehouse.maintenance import maintain
from pista.warehouse.marts import build_mart
from pista.warehouse.migrate import migrate

GROUPS, RECORDS, BATCH = 10, 8_000, 800
PROGRAM = Path(__file__).with_name("ingest") / "drain_process.py"
LEGS = Dataset(
    "legs",
    "1.0.0",
    Kind.UPSERT,
    (
        Column("id", "id", LogicalType.STRING, "text", required=True),
        Column("day", "day", LogicalType.DATE, "date", required=True),
        Column("pax", "pax", LogicalType.INTEGER, "integer"),
    ),
    ("id",),
    contract_hash="one",
)
DAYS = Dataset(
    "days",
    "1.0.0",
    Kind.MART,
    (
        Column("day", "day", LogicalType.DATE, "date", required=True),
        Column("pax", "pax", LogicalType.INTEGER, "bigint"),
    ),
    ("day",),
    slice_column="day",
    inputs=(MartInput("legs_0", "day"),),
    transform="SELECT day, sum(pax)::bigint AS pax FROM legs_0 GROUP BY day",
    contract_hash="days",
)


def publish(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
    for number in range(RECORDS):
        value = {"id": f"k{number}", "day": f"2013-01-{number % 28 + 1:02d}", "pax": number % 200}
        producer.produce(topic, key=str(number), value=json.dumps(value))
    assert producer.flush(60) == 0


@contextmanager
def again_and_again(work: Callable[[], object]) -> Iterator[list[tuple[float, float]]]:
    """Do it in a thread while the block lasts; CPU and wall seconds of each time. Its errors are the block's."""
    stop = threading.Event()
    spent: list[tuple[float, float]] = []
    errors: list[Exception] = []

    def loop() -> None:
        while not stop.is_set():
            cpu, wall = time.thread_time(), time.monotonic()
            try:
                work()
            except Exception as error:
                errors.append(error)
                return
            spent.append((time.thread_time() - cpu, time.monotonic() - wall))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield spent
    finally:
        stop.set()
        thread.join(60)
        if errors:
            raise errors[0]


@pytest.mark.timeout(600)
def test_ten_groups_with_a_mart_and_maintenance(
    settings: Settings, create_topic: Callable[..., str], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    sources = [
        replace(LEGS, name=f"legs_{n}", topic=create_topic(2), drain_group=f"group_{n}", contract_hash=f"legs {n}")
        for n in range(GROUPS)
    ]
    datasets = {one.name: one for one in (*sources, DAYS)}
    admin = str(settings.postgres_dsn.get_secret_value())  # type: ignore[union-attr]
    ingest = str(settings.ingest_dsn.get_secret_value())  # type: ignore[union-attr]
    migrate(admin, datasets)
    for one in sources:
        publish(str(settings.kafka_bootstrap), str(one.topic))
    sensor = (
        build_defs(settings, datasets=datasets, platform=Platform(settings)).get_repository_def().get_sensor_def("lag")
    )

    def tick(instance: dg.DagsterInstance) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=instance, resources={"platform": Platform(settings)})
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def drain(dataset: Dataset) -> "subprocess.Popen[str]":
        path = tmp_path / dataset.name
        small = settings.model_copy(update={"batch_max_records": BATCH, "drain_idle_seconds": 2.0})
        path.write_bytes(pickle.dumps((dataset, small)))
        return subprocess.Popen([sys.executable, PROGRAM, path, dataset.name], stdout=subprocess.PIPE, text=True)

    with (
        dg.DagsterInstance.ephemeral() as instance,
        psycopg.connect(admin, autocommit=True) as look,
        connect(ingest, "builds") as builds,
        connect(ingest, "upkeep") as upkeep,
    ):
        requests = tick(instance).run_requests or []
        assert {one.job_name for one in requests} == {f"drain_group_{n}" for n in range(GROUPS)}
        with (
            again_and_again(lambda: tick(instance)) as ticks,
            again_and_again(lambda: build_mart(builds, DAYS)) as built,
            again_and_again(lambda: maintain(upkeep, datasets.values())) as maintained,
        ):
            with psycopg.connect(admin) as gate:  # all begin at once, however long ten processes take to start
                gate.execute("SELECT FROM catalog.versions FOR UPDATE")
                processes = [drain(one) for one in sources]
                eventually(lambda: look.execute("SELECT count(*) = 10 FROM ingest.drains").fetchone()[0], 120)
            loaded = "SELECT dataset, sum(loaded)::int FROM ingest.batches WHERE run_id = dataset GROUP BY dataset"
            # when the first is through, every other one is well on its way
            eventually(lambda: max((rows for _, rows in look.execute(loaded)), default=0) == RECORDS, 200)
            progress = dict(look.execute(loaded).fetchall())
            outputs = [process.communicate(timeout=200)[0] for process in processes]
        build_mart(builds, DAYS)
        accounts = reconcile(upkeep, sources, timedelta(hours=1))
        expected = RECORDS * GROUPS
        assert sum(account.delivered for account in accounts) == expected
        assert [fault for account in accounts for fault in account.faults] == []
        assert [look.execute(f"SELECT count(*) FROM curated.{one.name}".encode()).fetchone() for one in sources] == [
            (RECORDS,)
        ] * GROUPS
        assert (
            look.execute("SELECT sum(pax) FROM curated.days").fetchone()
            == look.execute("SELECT sum(pax) FROM curated.legs_0").fetchone()
        )
    peaks = [int(found[1]) / 1024 for out in outputs if (found := re.search(r"^peak (\d+) KiB$", out, re.MULTILINE))]
    print(f"when the first was through, the groups had loaded {sorted(progress.values())} of {RECORDS}")
    cpu, wall = (max(times) for times in zip(*ticks, strict=True))
    print(f"{len(ticks)} ticks of {cpu:.2f} CPU-s and {wall:.2f} s at most")
    print(f"{len(built)} builds of the mart and {len(maintained)} rounds of maintenance meanwhile")
    print(f"a drain takes {max(peaks):.0f} MiB at most, the ten of them {sum(peaks):.0f}")
    assert len(peaks) == GROUPS
    assert min(progress.get(one.name, 0) for one in sources) >= RECORDS / 10, progress
    assert cpu < 1.0
    assert len(built) >= 2
    assert maintained
