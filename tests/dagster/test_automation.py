"""When marts ask to be built: evaluated by Dagster itself, on an ephemeral instance."""

import dagster as dg
import pytest

from dagster_project.automation import automation_sensors
from dagster_project.build import build_defs
from dagster_project.metadata import asset_key

from .conftest import AIRLINES, DAILY, DATASETS, FLIGHTS, ScriptedPlatform

pytestmark = pytest.mark.filterwarnings("ignore:Function `evaluate_automation_conditions` is currently in beta")


class Daemon:
    """Evaluates automation conditions tick by tick."""

    def __init__(self, instance: dg.DagsterInstance, platform: ScriptedPlatform) -> None:
        self.instance = instance
        self.defs = build_defs(platform.settings, datasets=DATASETS, platform=platform)
        self._cursor: object = None
        self.tick()

    def tick(self) -> int:
        result = dg.evaluate_automation_conditions(
            defs=self.defs,
            instance=self.instance,
            asset_selection=dg.AssetSelection.assets(asset_key(DAILY.name)),
            cursor=self._cursor,  # type: ignore[arg-type]
        )
        self._cursor = result.cursor
        return result.total_requested

    def materialize(self, dataset: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(dataset)))

    def check(self, passed: bool) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=asset_key("flights"), check_name=FLIGHTS.quality[0].name, passed=passed, metadata={}
            )
        )


@pytest.fixture
def daemon(instance: dg.DagsterInstance, offline: ScriptedPlatform) -> Daemon:
    return Daemon(instance, offline)


def test_asks_once_for_an_update(daemon: Daemon) -> None:
    assert daemon.tick() == 0
    daemon.materialize("flights")
    assert daemon.tick() == 1
    assert [daemon.tick() for _ in range(3)] == [0, 0, 0], "a build that fails does not loop"
    daemon.materialize("flights")
    assert daemon.tick() == 1


def test_reference_data_that_dirties_no_slice_asks_for_nothing(daemon: Daemon) -> None:
    daemon.materialize(AIRLINES.name)
    assert daemon.tick() == 0


def test_failing_blocking_check_holds_it_back(daemon: Daemon) -> None:
    daemon.materialize("flights")
    daemon.check(passed=False)
    assert daemon.tick() == 0
    daemon.check(passed=True)
    assert daemon.tick() == 1


def test_warm_drain_run_that_planned_a_quiet_input_does_not_hold_it_back(daemon: Daemon) -> None:
    daemon.instance.create_run_for_job(
        daemon.defs.resolve_job_def("drain_default"),
        asset_selection=frozenset({asset_key("flights"), asset_key("airlines")}),
        status=dg.DagsterRunStatus.STARTED,
    )
    daemon.materialize("flights")
    assert daemon.tick() == 1


def test_cooldown_is_the_interval_of_its_sensor() -> None:
    (sensor,) = automation_sensors([DAILY])
    assert sensor.minimum_interval_seconds == 15
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
