"""The code location as the code server loads it, with the contracts of the repository."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.build import build_defs
from pista.settings import Settings

from .conftest import DATASETS

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "dagster_project"
SNAPSHOT = Path(__file__).with_name("asset_graph.json")


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    settings = Settings(
        datasets_dir=REPOSITORY / "datasets",
        api_url="http://127.0.0.1:8000",
        ingest_dsn="postgresql://pista_ingest@127.0.0.1/pista",
    )
    return build_defs(settings)


def test_loads(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_asset_graph_is_as_it_was(defs: dg.Definitions) -> None:
    """PISTA_UPDATE_SNAPSHOTS=1 writes the snapshot anew; read the difference before you commit it."""
    found = json.dumps(describe(defs), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("PISTA_UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8"), "PISTA_UPDATE_SNAPSHOTS=1 writes the new graph"


def describe(defs: dg.Definitions) -> dict[str, Any]:
    """Everything that a user sees of the graph, without what depends on the machine."""
    repository = defs.get_repository_def()
    assets = {}
    for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key):
        schema = spec.metadata.get("dagster/column_schema")
        assets[spec.key.to_user_string()] = {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "owners": list(spec.owners),
            "kinds": sorted(spec.kinds),
            "tags": {key: value for key, value in spec.tags.items() if not key.startswith("dagster/kind/")},
            "freshness": str(spec.freshness_policy.fail_window.to_timedelta()) if spec.freshness_policy else None,
            "automation": spec.automation_condition is not None,
            "code_version": spec.code_version,
            "columns": [column.name for column in schema.columns] if schema else None,
            "metadata": sorted(spec.metadata),
            "table": spec.metadata.get("dagster/table_name"),
        }
    checks = [
        f"{spec.asset_key.to_user_string()}: {spec.name}{' (blocking)' if spec.blocking else ''}"
        for definition in (*(defs.asset_checks or ()), *(defs.assets or ()))
        if isinstance(definition, dg.AssetsDefinition)
        for spec in definition.check_specs
    ]
    return {
        "assets": assets,
        "checks": sorted(checks),
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {one.name: one.cron_schedule for one in repository.schedule_defs},
        "sensors": {one.name: one.minimum_interval_seconds for one in repository.sensor_defs},
    }


def test_unserved_columns_are_marked() -> None:
    defs = build_defs(Settings(), datasets=DATASETS)
    (flights,) = [spec for spec in defs.resolve_all_asset_specs() if spec.key.path == ["curated", "flights"]]
    by_name = {column.name: column for column in flights.metadata["dagster/column_schema"].columns}
    assert by_name["pilot"].constraints.other == ["not served: pii"]
    assert not by_name["carrier"].constraints.other
    assert by_name["flight_id"].constraints.unique


def test_datasets_without_marts_rules_or_sources_load() -> None:
    for names in ([], ["weather"], ["weather", "airlines"]):
        dg.Definitions.validate_loadable(build_defs(Settings(), datasets={name: DATASETS[name] for name in names}))


def test_broken_contract_fails_with_its_own_words(tmp_path: Path) -> None:
    from pista.contracts.problems import ContractError

    (tmp_path / "broken.yaml").write_text("name: 3\n")
    with pytest.raises(ContractError, match=r"broken\.yaml"):
        build_defs(Settings(datasets_dir=tmp_path))


def test_import_stays_light() -> None:
    """The code server imports neither the Kafka client nor pandas nor an HTTP layer before it needs them."""
    program = (
        "import sys, dagster_project.build as _; print(*{'kafka', 'pandas', 'numpy', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == ""


def test_no_private_modules_of_dagster() -> None:
    guilty = [path.name for path in PACKAGE.rglob("*.py") if "dagster._" in path.read_text(encoding="utf-8")]
    assert guilty == []


def test_package_modules_do_nothing_but_state_what_they_are() -> None:
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert source.startswith('"""')
    assert source.rstrip().endswith('"""')
    assert source.count('"""') == 2
