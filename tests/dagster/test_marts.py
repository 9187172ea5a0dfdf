"""Builds of marts, the checks that come with them, and the gate of their inputs."""

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
import pytest

from dagster_project.build import build_defs
from dagster_project.metadata import asset_key
from pista.contracts.dataset import Dataset
from pista.ingest.pausing import Pause
from pista.ingest.upkeep import Level
from pista.warehouse.marts import MartReport
from pista.warehouse.quality import RuleResult

from .conftest import DAILY, DATASETS, FLIGHTS, Script, ScriptedPlatform

Run = Callable[..., dg.ExecuteInProcessResult]
MART_RULE = DAILY.quality[0]
MART_CHECK = dg.AssetCheckKey(asset_key(DAILY.name), MART_RULE.name)


@pytest.fixture
def run(offline: ScriptedPlatform, instance: dg.DagsterInstance) -> Run:
    def run(job: str = "build_marts", **more: object) -> dg.ExecuteInProcessResult:
        defs = build_defs(offline.settings, datasets=DATASETS, platform=offline)
        return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **more)

    return run


def message(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = result.get_step_failure_events()
    return str(failure.step_failure_data)


def test_build_reports_counts_and_checks(run: Run, script: Script) -> None:
    asked = []

    def build(mart: Dataset, full_refresh: bool) -> MartReport:
        asked.append((mart.name, full_refresh))
        return MartReport(mart.name, 8, 3, 10, 2, 1, 5, 0.25, [RuleResult(MART_RULE, 0.0, True)])

    script.mart = build
    script.rows[DAILY.name] = 16
    result = run()
    assert result.success
    (event,) = result.get_asset_materialization_events()
    found = {key: value.value for key, value in event.materialization.metadata.items()}
    assert found == {
        "slices": 3,
        "inserted": 10,
        "updated": 2,
        "deleted": 1,
        "unchanged": 5,
        "version": 8,
        "seconds": 0.25,
        "dagster/row_count": 16,
    }
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == MART_RULE.name
    assert check.passed
    assert asked == [(DAILY.name, False)]

    result = run(run_config={"ops": {"curated__punctuality_daily": {"config": {"full_refresh": True}}}})
    assert asked[1] == (DAILY.name, True)


def test_build_with_nothing_to_do_succeeds(run: Run, script: Script) -> None:
    script.mart = lambda mart, _: MartReport(mart.name, None, 0)
    script.rules[DAILY.name] = [RuleResult(MART_RULE, 0.0, True)]
    result = run()
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["slices"].value == 0
    assert "version" not in event.materialization.metadata


def test_unpublished_build_materializes_nothing_and_fails(run: Run, script: Script) -> None:
    script.mart = lambda mart, _: MartReport(
        mart.name, None, 3, rules=[RuleResult(MART_RULE, 4.0, False)], published=False
    )
    result = run()
    assert not result.success
    assert not result.get_asset_materialization_events()
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["value"].value == 4.0
    assert f"Not published: {MART_RULE.name}" in message(result)


def test_a_paused_mart_is_not_built_and_nothing_fails(run: Run, script: Script) -> None:
    script.pauses[DAILY.name] = Pause(datetime(2013, 1, 31, tzinfo=UTC), "its definition is disputed")
    script.rules[DAILY.name] = [RuleResult(MART_RULE, 0.0, True)]
    result = run()
    assert result.success
    assert not result.get_asset_materialization_events()
    assert len(result.get_asset_check_evaluations()) == 1


def test_too_much_in_quarantine_fails_a_check_of_its_source(run: Run, script: Script) -> None:
    script.rules["flights"] = [RuleResult(rule, 0.0, True) for rule in FLIGHTS.quality]
    script.levels["flights"] = Level(open=60, loaded=40, allowed=0.5)
    script.levels["weather"] = Level(open=50, loaded=50, allowed=0.5)
    result = run("check_sources")
    passed = {
        one.asset_key.path[-1]: one.passed
        for one in result.get_asset_check_evaluations()
        if one.check_name == "quarantine_within_threshold"
    }
    assert passed == {"flights": False, "weather": True, "airlines": True}
    (failed,) = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert failed.metadata["share"].value == 0.6
    assert "`pista quarantine list flights`" in str(failed.description)


def test_source_checks_carry_value_threshold_and_severity(run: Run, script: Script) -> None:
    known = FLIGHTS.quality[1]
    script.rules["flights"] = [RuleResult(FLIGHTS.quality[0], 0.0, True), RuleResult(known, 12.0, False)]
    result = run("check_sources")
    assert result.success, "a check that fails is not a run that fails"
    by_name = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert by_name["carrier_is_never_null"].passed
    failed = by_name["carrier_is_known"]
    assert failed.severity is dg.AssetCheckSeverity.WARN
    assert failed.metadata["value"].value == 12.0
    assert failed.metadata["threshold"].value == "0"
    assert script.evaluated == [("flights", ("carrier_is_never_null", "carrier_is_known"))]


def test_input_that_breaks_its_contract_holds_the_mart_back_until_it_is_mended(run: Run, script: Script) -> None:
    built = []

    def build(mart: Dataset, _: bool) -> MartReport:
        built.append(mart.name)
        return MartReport(mart.name, 1, 1, 1, rules=[RuleResult(MART_RULE, 0.0, True)])

    script.mart = build
    blocking, warning = FLIGHTS.quality
    script.rules["flights"] = [RuleResult(blocking, 3.0, False), RuleResult(warning, 3.0, False)]
    run("check_sources")
    result = run()
    assert not result.success
    assert not built
    assert "flights: carrier_is_never_null" in message(result)

    script.rules["flights"] = [RuleResult(blocking, 0.0, True), RuleResult(warning, 3.0, False)]
    script.evaluated.clear()
    assert run().success
    assert built == [DAILY.name]
    assert script.evaluated == [("flights", ("carrier_is_never_null",))], "only what had failed is measured again"

    run("check_sources")
    script.evaluated.clear()
    assert run().success
    assert not script.evaluated, "a gate that is open costs nothing"


def test_severity_decides_what_blocks() -> None:
    from dagster_project.checks import check_specs

    blocking = {spec.name: spec.blocking for spec in check_specs(FLIGHTS)}
    assert blocking == {"carrier_is_never_null": True, "carrier_is_known": False}
