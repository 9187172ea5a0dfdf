"""No row of a dataset reaches Dagster's event log, whatever the database says of it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest

from dagster_project.build import build_defs
from dagster_project.drains import DrainTogether, describe
from dagster_project.errors import sentence
from dagster_project.metadata import asset_key
from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset
from pista.settings import Settings
from pista.warehouse.marts import MartReport
from pista.warehouse.quality import RuleResult

from .conftest import DAILY, DATASETS, FLIGHTS, Script, ScriptedPlatform, refused


@pytest.fixture
def admin(database: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def settings(database: Any) -> Settings:
    return Settings(ingest_dsn=database.ingest_dsn, drain_idle_seconds=0.3, drain_max_seconds=20)


def refuse(connection: Any, *_: object, **__: object) -> None:
    raise refused(connection)


def run(platform: Platform, instance: dg.DagsterInstance, job: str) -> str:
    """Everything that the run left in the event log."""
    defs = build_defs(platform.settings, datasets=DATASETS, platform=platform)
    result = defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    return "\n".join(map(str, instance.all_logs(result.run_id)))


@pytest.mark.parametrize(
    ("job", "function"), [("build_marts", "marts.build_mart"), ("check_sources", "quality.evaluate")]
)
def test_event_log_names_the_error_and_no_row(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, job: str, function: str
) -> None:
    monkeypatch.setattr(f"pista.warehouse.{function}", refuse)
    log = run(Platform(settings), instance, job)
    assert "violates not-null constraint (SQLSTATE 23502)" in log
    assert "SECRET" not in log


def test_failed_drain_names_the_error_and_no_row(
    settings: Settings, script: Script, admin: psycopg.Connection[Any], capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    def drain(**_: object) -> Any:
        raise refused(admin)

    script.drains["flights"] = drain
    failures: list[str] = []
    together = DrainTogether(ScriptedPlatform(settings, script), [FLIGHTS], "run", on_failure=failures.append)
    list(together.run())
    assert "flights: NotNullViolation: null value in column" in failures[0]
    assert "in drain" in caplog.text, "where it happened"
    assert "SECRET" not in "".join([*failures, together.explain_failures(), caplog.text, *capfd.readouterr()])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 'SECRET'::integer", "invalid input syntax for type integer (SQLSTATE 22P02)"),
        ("""SELECT 'SECRET "'::date""", "invalid input syntax for type date (SQLSTATE 22007)"),
        ("SELECT 1 / 0", "division by zero (SQLSTATE 22012)"),
        ("SELECT nothing", 'column "nothing" does not exist (SQLSTATE 42703)'),
    ],
)
def test_sentence_quotes_no_value(admin: psycopg.Connection[Any], query: str, expected: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        admin.execute(query.encode())
    assert sentence(caught.value) == expected
    assert describe("flights", caught.value).endswith(expected)


def test_sentence_without_the_server() -> None:
    assert sentence(psycopg.OperationalError("connection failed\nIs it running?")) == "connection failed"
    assert sentence(psycopg.DataError("cannot dump SECRET")) == "DataError"


def test_session_is_open_as_long_as_the_run_works_on_the_mart(
    settings: Settings, script: Script, instance: dg.DagsterInstance, admin: psycopg.Connection[Any]
) -> None:
    seen: dict[str, bool] = {}

    def look(phase: str) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pista mart punctuality_daily'"
        row = admin.execute(query).fetchone()
        assert row is not None
        seen[phase] = row[0] > 0

    class Watched(ScriptedPlatform):
        def evaluate(self, dataset: Dataset) -> list[Any]:
            look(f"evaluate {dataset.name}")
            return super().evaluate(dataset)

        def row_count(self, dataset: str) -> int | None:
            look("row count")
            return super().row_count(dataset)

        def build_mart(self, mart: Dataset, session: Any, full_refresh: bool) -> MartReport:
            look("build")
            return MartReport(mart.name, None, 0)

    defs = build_defs(settings, datasets=DATASETS, platform=Watched(settings, script))
    script.rules = {
        "flights": [RuleResult(FLIGHTS.quality[0], 3.0, False)],
        DAILY.name: [RuleResult(DAILY.quality[0], 0.0, True)],
    }
    checks = defs.resolve_job_def("check_sources")
    checks.execute_in_process(instance=instance, raise_on_error=False)
    script.rules["flights"] = [RuleResult(FLIGHTS.quality[0], 0.0, True)]
    seen.clear()
    build = defs.resolve_job_def("build_marts")
    assert build.execute_in_process(instance=instance, asset_selection=[asset_key(DAILY.name)]).success
    assert seen == {"evaluate flights": True, "build": True, f"evaluate {DAILY.name}": True, "row count": True}
