"""When marts build by themselves: after an input changed, never oftener than their cooldown allows."""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from operator import or_

import dagster as dg

from dagster_project.metadata import asset_key
from pista.contracts.dataset import Dataset

SHORTEST_INTERVAL = 5  # seconds; the sensor daemon's own loop is no faster


def mart_condition(mart: Dataset) -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    """An input that dirties slices was updated since the last request, no build runs, no blocking check fails.

    Unlike ``eager()`` it does not wait for inputs "in progress": a warm drain run plans all of its
    datasets, and those that stay quiet would hold the mart back for as long as the run lives. It
    asks once for an update, failed or not; a build that failed comes back by the lag sensor, with back-off.
    """
    quiet = [asset_key(one.dataset) for one in mart.inputs if one.slice_column is None]
    updated = dg.AutomationCondition.any_deps_updated()
    if quiet:
        updated = updated.ignore(dg.AssetSelection.assets(*quiet))
    broken = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.any_checks_match(dg.AutomationCondition.check_failed(), blocking_only=True)
    )
    return (
        updated.since_last_handled().with_label("an input changed")
        & ~dg.AutomationCondition.in_progress()
        & ~broken.with_label("a blocking check of an input fails")
    )


def automation_sensors(marts: Iterable[Dataset]) -> list[dg.AutomationConditionSensorDefinition]:
    """One sensor for each cooldown: how often it evaluates is how often its marts can build."""
    by_interval: dict[int, list[dg.AssetKey]] = defaultdict(list)
    for mart in marts:
        by_interval[max(SHORTEST_INTERVAL, round(mart.cooldown.total_seconds()))].append(asset_key(mart.name))
    return [
        dg.AutomationConditionSensorDefinition(
            name=f"marts_every_{interval}s",
            target=reduce(or_, (dg.AssetSelection.assets(key) for key in keys)),
            minimum_interval_seconds=interval,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description=f"Builds marts whose inputs changed, at most every {interval} seconds.",
        )
        for interval, keys in sorted(by_interval.items())
    ]
