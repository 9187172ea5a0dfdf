"""Dagster's own storage with the configuration of the local stack, on a real PostgreSQL."""

import re
import shutil
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
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
    assert names == {f"PISTA_DAGSTER_PG_{one}" for one in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE")}


def test_dagster_is_one_matched_set() -> None:
    """A library of another release lets the resolver go back years; SQLAlchemy 2.1 breaks dagster-postgres."""
    core = version("dagster")
    assert version("dagster-webserver") == core
    assert version("dagster-postgres") == f"0.{int(core.split('.')[1]) + 16}.{core.split('.')[2]}"
    (pin,) = [one for one in map(Requirement, requires("dagster-postgres") or []) if one.name == "dagster"]
    assert pin.specifier.contains(core)
    assert version("sqlalchemy").split(".")[:2] == ["2", "0"]
