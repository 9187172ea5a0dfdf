"""The job that loads a range of a topic again, launched by hand with the range in its run config."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dagster_project.coalesce import Coalesced, materialization_metadata
from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset

REPLAY = "replay"


class ReplayConfig(dg.Config):
    """Offsets ``[from_offset, to_offset)`` of one partition, or the records of ``[since, until)``; one of the two."""

    dataset: str
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    since: str | None = None  # such as 2013-01-31T06:00:00Z
    until: str | None = None
    reason: str | None = None


def replay_jobs(datasets: Mapping[str, Dataset]) -> list[dg.JobDefinition]:
    """The job of all source datasets; none where there are none."""
    if not any(dataset.is_source for dataset in datasets.values()):
        return []

    @dg.op(
        name="replay_range",  # a job and an op may not share a name
        description="Loads a range of a topic again: nothing is doubled, and no row goes back in time.",
        out=dg.Out(dg.Nothing),
    )
    def replay_range(context: dg.OpExecutionContext, config: ReplayConfig, platform: dg.ResourceParam[Platform]) -> Any:
        from kafka.errors import KafkaError

        from pista.ingest.again import ReplayError
        from pista.ingest.conditions import IngestCondition
        from pista.ingest.spans import Span
        from pista.ingest.targets import TargetError, parse_time
        from pista.kafka.topics import TopicUnreadableError

        dataset = datasets.get(config.dataset)
        if dataset is None or not dataset.is_source:
            sources = ", ".join(sorted(one.name for one in datasets.values() if one.is_source))
            raise dg.Failure(f"No source dataset is named {config.dataset}; there are {sources}.", allow_retries=False)
        total = Coalesced(dataset.name)
        try:
            times = [None if text is None else parse_time(text) for text in (config.since, config.until)]
            span = Span(config.partition, config.from_offset, config.to_offset, *times)
            for report in platform.replay(dataset, span, context.run_id, config.reason):
                total.add(report)
                context.log.info("%d records read of %s.", total.sums["records"], dataset.topic)
        except (IngestCondition, KafkaError, ReplayError, TargetError, TopicUnreadableError) as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        context.add_output_metadata(materialization_metadata(total, platform.row_count(dataset.name)))

    @dg.job(name=REPLAY, description="Loads a range of one topic again; say of what and from where in the run config.")
    def replay() -> None:
        replay_range()

    return [replay]
