"""What runs by the clock beside the checks: reconciliation every hour, maintenance every night."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset

RECONCILE = "reconcile"
MAINTENANCE = "maintenance"
WINDOW = timedelta(hours=3)  # of an hourly job: two that fail leave no batch unseen


def reconcile_job(sources: Sequence[Dataset]) -> dg.JobDefinition:
    """The job that counts what batches delivered against what is there, and fails with what does not add up."""

    @dg.op(name="reconcile_sources", out=dg.Out(dg.Nothing))
    def count(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
        accounts = platform.reconcile(sources, WINDOW)
        faults = [fault for account in accounts for fault in account.faults]
        if faults:
            raise dg.Failure("\n".join([f"{len(faults)} accounts do not add up:", *faults]), allow_retries=False)
        delivered = sum(account.delivered for account in accounts)
        context.log.info("%d records of %d partitions add up.", delivered, len(accounts))

    @dg.job(
        name=RECONCILE,
        description="Counts, for each partition, what the batches of the last hours delivered against raw, quarantine "
        "and what was filtered; fails with what does not add up.",
    )
    def job() -> None:
        count()

    return job


def maintenance_job(datasets: Sequence[Dataset]) -> dg.JobDefinition:
    """The job that keeps the raw log and the statistics of tables in order."""

    @dg.op(name="maintain_tables", out=dg.Out(dg.Nothing))
    def maintain(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
        for upkeep in platform.maintain(datasets):
            if upkeep.dropped or upkeep.moved:
                context.log.info(
                    "%s: dropped %d days of raw, moved %d records.", upkeep.dataset, upkeep.dropped, upkeep.moved
                )

    @dg.job(
        name=MAINTENANCE,
        description="Makes raw partitions ahead, drops days of raw past their retention, and analyses tables.",
    )
    def job() -> None:
        maintain()

    return job


def scheduled(job: Any, every: str, cron: str, description: str) -> dg.ScheduleDefinition:
    """A schedule in UTC that runs from the start; ``every`` is the end of its name."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_{every}",
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
