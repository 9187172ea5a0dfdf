"""Which drains there are: a run for each group of datasets, and runs of its own for a dataset with ``parallelism``."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pista.contracts.dataset import Dataset
from pista.contracts.problems import ContractError, Problem
from pista.ingest.share import WHOLE, Share

OTHER_RUNS = 8  # builds of marts, checks and maintenance that may run beside the drains


@dataclass(frozen=True, slots=True)
class Group:
    """Datasets that one run drains; or one dataset, and the runs that share its partitions."""

    name: str
    datasets: tuple[Dataset, ...]
    shares: tuple[Share, ...] = (WHOLE,)


def drain_groups(datasets: Iterable[Dataset]) -> list[Group]:
    """Every group of source datasets.

    Raises:
        ContractError: a group is called as a dataset with ``parallelism``, which is a group of its own.
    """
    grouped: dict[str, list[Dataset]] = {}
    alone: list[Dataset] = []
    for dataset in datasets:
        if dataset.is_source and dataset.parallelism > 1:
            alone.append(dataset)
        elif dataset.is_source:
            grouped.setdefault(dataset.drain_group, []).append(dataset)
    for dataset in alone:
        for other in grouped.get(dataset.name, ()):
            message = (
                f"the drains of {dataset.name} are its own, for it has a parallelism of {dataset.parallelism}; "
                "call the group otherwise"
            )
            raise ContractError([Problem(other.path or Path(other.name), 0, "drain_group", dataset.name, message)])
    return [
        *(Group(name, tuple(members)) for name, members in grouped.items()),
        *(
            Group(
                dataset.name, (dataset,), tuple(Share(slot, dataset.parallelism) for slot in range(dataset.parallelism))
            )
            for dataset in alone
        ),
    ]


def most_runs(groups: Iterable[Group]) -> int:
    """How many runs Dagster has to allow at once: each drain, its successor during a hand-over, and some others.

    All drains that started with the machine hand over in the same minute.
    """
    return 2 * sum(len(group.shares) for group in groups) + OTHER_RUNS
