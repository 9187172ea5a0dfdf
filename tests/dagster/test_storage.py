"""Dagster's own storage with the configuration of the local stack, on a real PostgreSQL."""

import re
import shutil
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from packaging.requirements import Requirement
from psycopg.conninfo import conninfo_to_dict

from dagster_project.metadata import asset_key

CONFIGURATION = Path(__file__).resolve().parents[2] / "dagster_project" / "dagster.yaml"


@pytest.fixture
def dagster_home(empty_database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    parts = conninfo_to_dict(empty_database.admin_dsn)
    for name, key in (
        ("HOST", "host"),
        ("PORT", "port"),
        ("USER", "user"),
        ("PASSWORD", "password"),
        ("DATABASE", "dbname"),
    ):
        monkeypatch.setenv(f"PISTA_DAGSTER_PG_{name}", str(parts[key]))
    monkeypatch.setenv("PISTA_DAGSTER_MAX_RUNS", "42")
    shutil.copy(CONFIGURATION, tmp_path / "dagster.yaml")
    return tmp_path


def test_storage_opens_and_keeps_events(dagster_home: Path) -> None:
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key("flights"), metadata={"records": 3}))
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        event = instance.get_latest_materialization_event(asset_key("flights"))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["records"].value == 3
        assert not instance.telemetry_enabled


def test_configuration_names_every_variable_that_the_stack_gives() -> None:
    names = set(re.findall(r"env: (\w+)", CONFIGURATION.read_text(encoding="utf-8")))
    address = {f"PISTA_DAGSTER_PG_{one}" for one in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE")}
    assert names == {*address, "PISTA_DAGSTER_MAX_RUNS"}


def test_most_runs_are_those_that_the_contracts_ask_for(dagster_home: Path) -> None:
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 42


def test_events_do_not_cost_a_connection_each(dagster_home: Path) -> None:
    made: list[int] = []

    def note(*_: object) -> None:
        made.append(1)

    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key("flights")))
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", note)
        try:
            for _ in range(20):
                instance.report_runless_asset_event(dg.AssetMaterialization(asset_key("flights")))
        finally:
            sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", note)
    assert not made


def test_an_event_after_a_restart_of_the_server_is_kept(dagster_home: Path, empty_database: Any) -> None:
    with (
        dg.DagsterInstance.from_config(str(dagster_home)) as instance,
        psycopg.connect(empty_database.admin_dsn, autocommit=True) as admin,
    ):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key("flights")))
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ended = admin.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}").fetchall()
        assert ended
        assert all(done for (done,) in ended)
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key("weather")))
        assert instance.get_latest_materialization_event(asset_key("weather"))


def test_dagster_is_one_matched_set() -> None:
    """A library of another release lets the resolver go back years; SQLAlchemy 2.1 breaks dagster-postgres."""
    core = version("dagster")
    assert version("dagster-webserver") == core
    assert version("dagster-postgres") == f"0.{int(core.split('.')[1]) + 16}.{core.split('.')[2]}"
    (pin,) = [one for one in map(Requirement, requires("dagster-postgres") or []) if one.name == "dagster"]
    assert pin.specifier.contains(core)
    assert version("sqlalchemy").split(".")[:2] == ["2", "0"]
