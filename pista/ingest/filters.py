"""Which records of a mixed topic are the dataset's: all filters of its contract hold."""

from typing import Any

from pista.contracts.dataset import Dataset, Filter, Origin
from pista.ingest.places import Opened
from pista.ingest.reasons import RejectedError


def split(dataset: Dataset) -> tuple[list[Filter], list[Filter]]:
    """Filters that need only key, headers and place in the log, and filters that need the value."""
    outer = [condition for condition in dataset.where if condition.origin is not Origin.VALUE]
    return outer, [condition for condition in dataset.where if condition.origin is Origin.VALUE]


def hold(filters: list[Filter], opened: Opened) -> bool:
    """Whether every filter holds; where no way leads to a filter's place, there is null."""
    return all(_holds(condition, opened) for condition in filters)


def _holds(condition: Filter, opened: Opened) -> bool:
    try:
        found = opened.at(condition)
    except RejectedError:
        found = None
    return any(_same(found, value) for value in condition.values)


def _same(found: Any, value: Any) -> bool:
    # true is no number, whatever Python says
    return isinstance(found, bool) is isinstance(value, bool) and bool(found == value)
