"""What runs by the clock beside the checks: reconciliation."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset

RECONCILE = "reconcile"
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


def hourly(job: Any, minute: int, description: str) -> dg.ScheduleDefinition:
    """A schedule that runs at that minute of every hour, from the start."""
    return dg.ScheduleDefinition(
        name=f"{job.name}_hourly",
        job=job,
        cron_schedule=f"{minute} * * * *",  # not on the hour, when everybody else's jobs start
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
