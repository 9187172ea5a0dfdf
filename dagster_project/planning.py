"""What the sensor decides, as pure functions of what it saw: which drains and which marts to request, or why none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from dagster_project.backoff import LONGEST_BLOCKED, LONGEST_DELAY, Asks
from dagster_project.liveness import Moment
from dagster_project.state import Waiting
from pista.contracts.dataset import Dataset

if TYPE_CHECKING:
    from pista.ingest.lag import Lag

OVERDUE_FLOOR = timedelta(seconds=30)


@dataclass(slots=True)
class Plan:
    """The outcome for one group of datasets, or for the marts."""

    request: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)  # why what is not requested is not


def plan_drains(
    datasets: Sequence[Dataset], lags: Mapping[str, Lag], covered: Mapping[str, str], asks: Asks, moment: Moment
) -> Plan:
    """Decide for one group.

    One that lags is reason enough for a run, which then takes all that can be drained and that no live run
    covers, so that all of the group are warm.
    """
    plan = Plan()
    drained: list[Lag] = []
    drainable: list[str] = []
    due: list[str] = []
    for dataset in datasets:
        name, lag = dataset.name, lags[dataset.name]
        if lag.condition is not None:
            plan.sentences.append(f"{name} is stopped: {lag.condition}")
        elif lag.topic_missing:
            plan.sentences.append(f"{name} waits for its topic {dataset.topic}, which does not exist yet.")
        elif name in covered:
            if lag.records:
                plan.sentences.append(f"{name} is being drained by {covered[name]}, lag {number(lag.records)}.")
            else:
                drained.append(lag)
        elif lag.records:
            seconds = asks.wait(name, position(lag), moment.now, moment.restarted)
            if seconds:
                plan.sentences.append(
                    f"{name} lags by {number(lag.records)}, but {asks.count(name)} runs did not move it; "
                    f"the next is requested in {seconds:.0f} s."
                )
            else:
                due.append(name)
        else:
            drained.append(lag)
            drainable.append(name)
    if due:
        plan.request = [dataset.name for dataset in datasets if dataset.name in {*due, *drainable}]
        for name in due:
            asks.note(name, position(lags[name]), moment.now, moment.restarted)
    if drained:
        what = f"All {len(drained)}" if len(drained) == len(datasets) else f"{len(drained)} of {len(datasets)}"
        at = number(sum(position(lag) for lag in drained))
        plan.sentences.append(f"{what} topics are drained: position {at}, lag 0.")
    return plan


def plan_marts(
    marts: Sequence[Dataset], waiting: Sequence[Waiting], covered: Mapping[str, str], asks: Asks, moment: Moment
) -> Plan:
    """Marts whose changes wait longer than automation ever lets them.

    A kill between a build's COMMIT and its report, or a failed build, leaves no event that automation would see.
    """
    plan = Plan()
    by_mart = {one.mart: one for one in waiting}
    for mart in marts:
        queue = by_mart.get(mart.name)
        if queue is None or queue.age < (2 * mart.cooldown + OVERDUE_FLOOR).total_seconds():
            continue
        if mart.name in covered:
            plan.sentences.append(f"{mart.name} is being built by {covered[mart.name]}.")
            continue
        # what blocked a build does so again until there are new data or a new contract, and both are a new row
        if queue.blocked_by is None:
            at, shortest, longest = queue.oldest, 0.0, LONGEST_DELAY
        else:
            at, shortest, longest = queue.newest, mart.cooldown.total_seconds(), LONGEST_BLOCKED
        seconds = asks.wait(mart.name, at, moment.now, moment.restarted, longest=longest, shortest=shortest)
        if seconds and queue.blocked_by is not None:
            plan.sentences.append(
                f"{mart.name} is blocked by its rule {queue.blocked_by}; "
                f"the next build is requested in {seconds:.0f} s, or once its inputs change."
            )
        elif seconds:
            plan.sentences.append(
                f"{mart.name} has changes that wait for {queue.age:.0f} s, but {asks.count(mart.name)} runs did not "
                f"build it; the next is requested in {seconds:.0f} s."
            )
        else:
            plan.request.append(mart.name)
            asks.note(mart.name, at, moment.now, moment.restarted)
    return plan


def position(lag: Lag) -> int:
    """Where the ledger stands, as one number that grows with every batch."""
    return sum(start for start, _ in lag.partitions.values())


def number(value: int) -> str:
    """Thousands apart by a blank: 81 344."""
    return f"{value:,}".replace(",", " ")
