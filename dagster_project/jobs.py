"""Jobs and schedules: drains by group, builds of marts, and the hourly checks of source datasets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from dagster_project.metadata import asset_key
from pista.contracts.dataset import Dataset

DEFAULT_GROUP = "default"
BUILD_MARTS = "build_marts"
CHECK_SOURCES = "check_sources"

# what define_asset_job returns has no public name in Dagster
Jobs = Mapping[str, Any]


def drain_groups(datasets: Iterable[Dataset]) -> dict[str, list[Dataset]]:
    """Source datasets by the run that drains them: one run, one interpreter, a thread each."""
    sources = [dataset for dataset in datasets if dataset.is_source]
    return {DEFAULT_GROUP: sources} if sources else {}


def drain_job(group: str) -> str:
    """Name of the job that drains a group."""
    return f"drain_{group}"


def make_jobs(groups: Mapping[str, Sequence[Dataset]], marts: Sequence[Dataset]) -> Jobs:
    """Every job by its name; none that would have nothing to do."""
    jobs = [
        dg.define_asset_job(
            drain_job(group),
            selection=_without_checks(datasets),
            description=f"Loads {', '.join(dataset.name for dataset in datasets)} until all are idle.",
        )
        for group, datasets in groups.items()
    ]
    if marts:
        jobs.append(
            dg.define_asset_job(
                BUILD_MARTS,
                # the checks of a mart belong to its build: they run before COMMIT
                selection=dg.AssetSelection.assets(*(asset_key(mart.name) for mart in marts)),
                description="Builds marts from their changed slices; `full_refresh` in the run config rebuilds all.",
            )
        )
    checked = [asset_key(one.name) for datasets in groups.values() for one in datasets if one.quality]
    if checked:
        jobs.append(
            dg.define_asset_job(
                CHECK_SOURCES,
                selection=dg.AssetSelection.checks_for_assets(*checked),
                description="Evaluates the quality rules of the contracts on source datasets.",
            )
        )
    return {job.name: job for job in jobs}


def make_schedules(jobs: Jobs) -> list[dg.ScheduleDefinition]:
    """What runs by the clock."""
    if CHECK_SOURCES not in jobs:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{CHECK_SOURCES}_hourly",
            job=jobs[CHECK_SOURCES],
            cron_schedule="7 * * * *",  # not on the hour, when everybody else's jobs start
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="The rules of every source dataset, once an hour.",
        )
    ]


def _without_checks(datasets: Iterable[Dataset]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(asset_key(dataset.name) for dataset in datasets)).without_checks()
