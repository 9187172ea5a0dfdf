"""Topics as external assets, and source datasets as assets that a drain run materializes."""

from collections.abc import Iterable, Iterator

import dagster as dg

from dagster_project.drains import DrainTogether
from dagster_project.groups import share_of
from dagster_project.metadata import (
    asset_key,
    definition_metadata,
    description,
    freshness_policy,
    identifier,
    kinds,
    owners,
    tags,
    topic_key,
)
from dagster_project.resources import Platform
from pista.contracts.dataset import Dataset
from pista.ingest.groups import Group
from pista.ingest.share import WHOLE
from pista.settings import Settings


def topic_specs(datasets: Iterable[Dataset]) -> list[dg.AssetSpec]:
    """One external asset a topic, so that lineage starts at Kafka; datasets may share a topic."""
    by_topic: dict[str, Dataset] = {}
    for dataset in datasets:
        if dataset.topic is not None:
            by_topic.setdefault(dataset.topic, dataset)
    return [
        dg.AssetSpec(
            topic_key(topic),
            group_name=identifier(dataset.domain),
            kinds={"kafka"},
            owners=owners(dataset),
            description=f"Kafka topic `{topic}`"
            + (
                f", managed by Pista: {dataset.partitions} partitions{', compacted' if dataset.compacted else ''}."
                if dataset.partitions
                else ", somebody else's: Pista only reads it."
            ),
            metadata={"topic": topic, "dagster/uri": f"kafka://{topic}"},
        )
        for topic, dataset in by_topic.items()
    ]


def source_spec(dataset: Dataset, settings: Settings) -> dg.AssetSpec:
    """A source dataset: its table, fed by its topic."""
    return dg.AssetSpec(
        asset_key(dataset.name),
        deps=[topic_key(dataset.topic)] if dataset.topic else [],
        description=description(dataset),
        metadata=definition_metadata(dataset, settings),
        group_name=identifier(dataset.domain),
        owners=owners(dataset),
        tags=tags(dataset),
        kinds=kinds(dataset),
        freshness_policy=freshness_policy(dataset),
        code_version=dataset.version,
        skippable=True,  # a drain that finds nothing new materializes nothing
    )


def drain_asset(group: Group, settings: Settings) -> dg.AssetsDefinition:
    """The op that drains a group of datasets, the selected ones or the run's share, until all of them are idle."""
    by_key = {asset_key(dataset.name): dataset for dataset in group.datasets}

    @dg.multi_asset(
        name=f"{identifier(group.name)}_drain",  # a job and an op may not share a name
        specs=[source_spec(dataset, settings) for dataset in group.datasets],
        can_subset=True,
        description="Loads what is new on the topics of its datasets, exactly once, a thread a dataset.",
    )
    def drain(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.AssetMaterialization]:
        chosen = [dataset for key, dataset in by_key.items() if key in context.selected_asset_keys]
        share = share_of(context.run.tags)
        part = "" if share == WHOLE else f", share {share} of the partitions"
        context.log.info("Draining %s%s.", ", ".join(dataset.name for dataset in chosen), part)
        together = DrainTogether(platform, chosen, context.run.run_id, on_failure=context.log.error, share=share)
        for name, metadata in together.run():
            yield dg.AssetMaterialization(asset_key(name), metadata=metadata)
        context.log.info(together.summary())
        if together.failures:
            raise dg.Failure(together.explain_failures(), allow_retries=False)

    return drain
