"""The one constructor of the code location; production, the command line and tests all call it."""

from collections.abc import Mapping

import dagster as dg

from dagster_project.assets import drain_asset, topic_specs
from dagster_project.automation import automation_sensors
from dagster_project.checks import source_checks
from dagster_project.jobs import make_jobs, make_schedules
from dagster_project.marts import mart_asset
from dagster_project.replay import replay_jobs
from dagster_project.resources import Platform
from dagster_project.sensors import lag_sensor
from pista.contracts.dataset import Dataset
from pista.ingest.groups import drain_groups
from pista.settings import Settings


def build_defs(
    settings: Settings, *, datasets: Mapping[str, Dataset] | None = None, platform: Platform | None = None
) -> dg.Definitions:
    """Everything that Dagster knows of this installation.

    Args:
        settings: configuration; the contracts are read from its ``datasets_dir``.
        datasets: instead of the contracts in that folder.
        platform: instead of the real Kafka, ledger and warehouse.

    Raises:
        ContractError: a contract is not valid; Dagster shows the text, which names file and line.
    """
    if datasets is None:
        from pista.contracts.loading import load_datasets

        datasets = load_datasets(settings.datasets_dir)
    platform = platform or Platform(settings)
    groups = drain_groups(datasets.values())
    marts = [dataset for dataset in datasets.values() if not dataset.is_source]
    jobs = make_jobs(groups, marts)
    return dg.Definitions(
        assets=[
            *topic_specs(datasets.values()),
            *(drain_asset(group, settings) for group in groups),
            *(mart_asset(mart, datasets, settings) for mart in marts),
        ],
        asset_checks=source_checks(datasets.values()),
        jobs=[*jobs.values(), *replay_jobs(datasets)],
        schedules=make_schedules(jobs),
        sensors=[*lag_sensor(groups, marts, jobs, settings), *automation_sensors(marts)],
        resources={"platform": platform},
        # a process a step costs two seconds a run and buys nothing here
        executor=dg.in_process_executor,
    )
