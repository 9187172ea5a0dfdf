"""Jobs that run by the clock."""

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from dagster_project.build import build_defs
from dagster_project.resources import Platform
from pista.contracts.loading import load_datasets
from pista.settings import Settings

DATASETS = Path(__file__).resolve().parents[2] / "datasets"


@pytest.fixture
def defs(database: Any) -> dg.Definitions:
    settings = Settings(ingest_dsn=database.ingest_dsn)
    return build_defs(settings, datasets=load_datasets(DATASETS), platform=Platform(settings))


@pytest.fixture
def job(defs: dg.Definitions) -> dg.JobDefinition:
    return defs.resolve_job_def("reconcile")


def test_what_adds_up_is_a_success(job: dg.JobDefinition, instance: dg.DagsterInstance) -> None:
    assert job.execute_in_process(instance=instance).success


def test_what_does_not_add_up_fails_the_run_with_a_sentence(
    job: dg.JobDefinition, instance: dg.DagsterInstance, database: Any
) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute(
            """
            WITH batch AS (
                INSERT INTO ingest.batches (dataset, version, run_id, kind, records, bytes, loaded, quarantined,
                    inserted, updated, deleted, unchanged, read_ms, decode_ms, write_ms)
                VALUES ('weather', 1, 'r', 'drain', 5, 1, 5, 0, 5, 0, 0, 0, 1, 1, 1) RETURNING id)
            INSERT INTO ingest.ranges SELECT id, 'weather', 0, 2, 100, 105, now(), 5, 5, 0, 0 FROM batch
            """
        )
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    (failure,) = result.get_step_failure_events()
    assert failure.step_failure_data.user_failure_data is not None
    said = str(failure.step_failure_data.user_failure_data.description)
    assert "dataset weather, partition 2, offsets [100, 105): 5 records were loaded, but raw has 0." in said


def test_maintenance_makes_partitions_and_drops_what_is_past_its_retention(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Any
) -> None:
    days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'raw.weather'::regclass"
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("SELECT ingest.ensure_raw_partition('weather', current_date - 400)")
        assert admin.execute(days).fetchone() == (2,), "the default one and an old one"
        assert defs.resolve_job_def("maintenance").execute_in_process(instance=instance).success
        assert admin.execute(days).fetchone() == (4,), "the default one and three days"
