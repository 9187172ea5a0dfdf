"""Jobs and schedules: drains by group, builds of marts, checks of source datasets, and upkeep."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from dagster_project.groups import drain_job
from dagster_project.metadata import asset_key
from dagster_project.upkeep import MAINTENANCE, RECONCILE, maintenance_job, reconcile_job, scheduled
from pista.contracts.dataset import Dataset
from pista.ingest.groups import Group

BUILD_MARTS = "build_marts"
CHECK_SOURCES = "check_sources"

# what define_asset_job returns has no public name in Dagster
Jobs = Mapping[str, Any]


def make_jobs(groups: Sequence[Group], marts: Sequence[Dataset]) -> Jobs:
    """Every job by its name; none that would have nothing to do."""
    jobs: list[Any] = [
        dg.define_asset_job(
            drain_job(group.name), selection=_without_checks(group.datasets), description=_what_drains(group)
        )
        for group in groups
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
    checked = [asset_key(one.name) for group in groups for one in group.datasets]
    if checked:
        jobs.append(
            dg.define_asset_job(
                CHECK_SOURCES,
                selection=dg.AssetSelection.checks_for_assets(*checked),
                description="Evaluates the contracts' rules on source datasets, and how full their quarantine is.",
            )
        )
    if groups:
        sources = [one for group in groups for one in group.datasets]
        jobs += [reconcile_job(sources), maintenance_job([*sources, *marts])]
    return {job.name: job for job in jobs}


def make_schedules(jobs: Jobs) -> list[dg.ScheduleDefinition]:
    """What runs by the clock."""
    # not on the hour, when everybody else's jobs start
    clock = {
        CHECK_SOURCES: ("hourly", "7 * * * *", "The rules of every source dataset, once an hour."),
        RECONCILE: ("hourly", "37 * * * *", "What was delivered against what is there, once an hour."),
        MAINTENANCE: ("nightly", "17 3 * * *", "Raw partitions, retention and statistics, once a night."),
    }
    return [scheduled(jobs[name], *when) for name, when in clock.items() if name in jobs]


def _what_drains(group: Group) -> str:
    names = ", ".join(dataset.name for dataset in group.datasets)
    runs = len(group.shares)
    return f"Loads {names} until all are idle." if runs == 1 else f"Loads {names}, in {runs} runs at once."


def _without_checks(datasets: Iterable[Dataset]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(asset_key(dataset.name) for dataset in datasets)).without_checks()
