"""Which drains there are: a run for each group of datasets, and runs of its own for a dataset with ``parallelism``."""

from collections.abc import Iterable
from dataclasses import dataclass

from pista.contracts.dataset import Dataset
from pista.ingest.share import WHOLE, Share


class GroupNameError(ValueError):
    """A group is called as a dataset that is drained by itself."""


@dataclass(frozen=True, slots=True)
class Group:
    """Datasets that one run drains; or one dataset, and the runs that share its partitions."""

    name: str
    datasets: tuple[Dataset, ...]
    shares: tuple[Share, ...] = (WHOLE,)


def drain_groups(datasets: Iterable[Dataset]) -> list[Group]:
    """Every group of source datasets.

    Raises:
        GroupNameError: a ``drainGroup`` is called as a dataset with ``parallelism``.
    """
    grouped: dict[str, list[Dataset]] = {}
    alone: list[Dataset] = []
    for dataset in datasets:
        if dataset.is_source and dataset.parallelism > 1:
            alone.append(dataset)
        elif dataset.is_source:
            grouped.setdefault(dataset.drain_group, []).append(dataset)
    for dataset in alone:
        if dataset.name in grouped:
            raise GroupNameError(
                f"dataset {dataset.name} has a parallelism of {dataset.parallelism} and so drains of its own, "
                f"but a group of datasets is called {dataset.name} too ({grouped[dataset.name][0].name} is in it). "
                "Call the group otherwise."
            )
    return [
        *(Group(name, tuple(members)) for name, members in grouped.items()),
        *(
            Group(
                dataset.name, (dataset,), tuple(Share(slot, dataset.parallelism) for slot in range(dataset.parallelism))
            )
            for dataset in alone
        ),
    ]
