"""What the sensor decides, as pure functions of what it saw: which drains and which marts to request, or why none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from dagster_project.backoff import LONGEST_BLOCKED, LONGEST_DELAY, Asks
from dagster_project.liveness import AtWork, Moment, Work
from dagster_project.state import Waiting
from pista.contracts.dataset import Dataset
from pista.ingest.share import WHOLE, Share

if TYPE_CHECKING:
    from pista.ingest.lag import Lag

OVERDUE_FLOOR = timedelta(seconds=30)


@dataclass(slots=True)
class Plan:
    """The outcome for one group of datasets, or for the marts."""

    request: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)  # why what is not requested is not


def plan_drains(
    datasets: Sequence[Dataset],
    lags: Mapping[str, Lag],
    at_work: AtWork,
    asks: Asks,
    moment: Moment,
    share: Share = WHOLE,
) -> Plan:
    """Decide for one group, or for one share of the dataset that it is.

    One that lags is reason enough for a run, which then takes all that can be drained and that no live run
    covers, so that all of the group are warm. So is one whose drain is about to end: its successor waits for that.
    """
    plan = Plan()
    drained: list[Lag] = []
    drainable: list[str] = []
    due: list[str] = []
    for dataset in datasets:
        name, lag = dataset.name, part_of(lags[dataset.name], share)
        known, work = label(name, share), Work(name, share)
        who = at_work.on(work)
        if (stop := _stop(lag)) is not None:
            plan.sentences.append(f"{known} is {stop}")
        elif lag.topic_missing:
            plan.sentences.append(f"{known} waits for its topic {dataset.topic}, which does not exist yet.")
        elif who is not None:
            if lag.records:
                plan.sentences.append(f"{known} is being drained by {who}, lag {number(lag.records)}.")
            else:
                drained.append(lag)
        elif at_work.leaves(work):
            due.append(name)
        elif lag.records:
            seconds = asks.wait(known, position(lag), moment.now, moment.restarted)
            if seconds:
                plan.sentences.append(
                    f"{known} lags by {number(lag.records)}, but {asks.count(known)} runs did not move it; "
                    f"the next is requested in {seconds:.0f} s."
                )
            else:
                due.append(name)
                asks.note(known, position(lag), moment.now, moment.restarted)
        else:
            drained.append(lag)
            drainable.append(name)
    if due:
        plan.request = [dataset.name for dataset in datasets if dataset.name in {*due, *drainable}]
    if drained and share == WHOLE:
        what = f"All {len(drained)}" if len(drained) == len(datasets) else f"{len(drained)} of {len(datasets)}"
        at = number(sum(position(lag) for lag in drained))
        plan.sentences.append(f"{what} topics are drained: position {at}, lag 0.")
    elif drained:
        plan.sentences.append(
            f"{label(datasets[0].name, share)} is drained: position {number(position(drained[0]))}, lag 0."
        )
    return plan


def label(dataset: str, share: Share) -> str:
    """What a sentence calls a dataset, or a share of it."""
    return dataset if share == WHOLE else f"{dataset} {share}"


def _stop(lag: Lag) -> str | None:
    """What keeps a dataset from being drained whatever its lag."""
    if lag.pause is not None:
        return f"{lag.pause}."
    return None if lag.condition is None else f"stopped: {lag.condition}"


def part_of(lag: Lag, share: Share) -> Lag:
    """The lag of the partitions of a share, and what stops just them."""
    if share == WHOLE:
        return lag
    partitions = {partition: range_ for partition, range_ in lag.partitions.items() if share.owns(partition)}
    records = sum(max(end - start, 0) for start, end in partitions.values())
    return replace(lag, partitions=partitions, records=records, condition=lag.by_share.get(share, lag.condition))


def plan_marts(
    marts: Sequence[Dataset], waiting: Sequence[Waiting], at_work: AtWork, asks: Asks, moment: Moment
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
        if queue.paused is not None:
            plan.sentences.append(f"{mart.name} is paused: {queue.paused}.")
            continue
        who = at_work.on(Work(mart.name))
        if who is not None:
            plan.sentences.append(f"{mart.name} is being built by {who}.")
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
