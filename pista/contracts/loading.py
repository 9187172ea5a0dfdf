"""A folder of contracts becomes datasets, or one error that names everything wrong in it."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from pista.contracts.contract import Contract, read_contract
from pista.contracts.dataset import Dataset
from pista.contracts.problems import ContractError, Problem, did_you_mean
from pista.contracts.sql import mentions, relations


def load_datasets(folder: Path) -> dict[str, Dataset]:
    """Every ``NAME.yaml`` of the folder as a Dataset, marts after their inputs.

    Raises:
        ContractError: with all problems of all files.
    """
    if not folder.is_dir():
        message = "is no folder; PISTA_DATASETS_DIR names the folder of contracts"
        raise ContractError([Problem(folder, 0, "", None, message)])
    contracts = {file.stem: read_contract(file) for file in sorted(folder.glob("*.yaml"))}
    problems = _strays(folder, contracts)
    _check_unique(contracts)
    _check_groups(contracts)
    _check_topics(contracts)
    for contract in contracts.values():
        _check_inputs(contract, contracts)
    graph = {name: _reads(contract, contracts) for name, contract in contracts.items()}
    order: list[str] = []
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        first = contracts[min(cycle)]
        steps = " reads ".join(cycle)
        first.extensions["inputs"].refuse(f"marts cannot read each other in a circle: {steps}")
    problems += [problem for contract in contracts.values() for problem in contract.document.problems]
    if problems:
        raise ContractError(problems)
    return {name: dataset for name in order if (dataset := contracts[name].dataset)}


def _strays(folder: Path, contracts: Mapping[str, Contract]) -> list[Problem]:
    """Files that look like part of a dataset and are not."""
    reasons = {
        ".yml": "is not read; contracts are named NAME.yaml, so rename it {0}.yaml",
        ".py": "marts in Python are not supported yet; write {0}.sql",
        ".sql": "has no contract beside it; {0}.yaml is missing",
    }
    return [
        Problem(file, 0, "", None, reasons[file.suffix].format(file.stem))
        for file in sorted(folder.iterdir())
        if file.suffix in reasons and not (file.suffix == ".sql" and file.stem in contracts)
    ]


def _check_unique(contracts: Mapping[str, Contract]) -> None:
    """The ``id`` of a contract is its own, and a topic is made by one contract only."""
    ids: dict[object, str] = {}
    makers: dict[str, str] = {}
    for name, contract in contracts.items():
        identity = contract.document.root()["id"]
        if identity.value is not None and (other := ids.setdefault(identity.value, name)) != name:
            identity.refuse(f"{identity.shown} is the id of {other} already; each contract has one of its own")
        topic = contract.dataset.topic if contract.dataset and contract.dataset.partitions else None
        if topic is not None and (other := makers.setdefault(topic, name)) != name:
            contract.extensions["managed"].refuse(f"the topic {topic} is made by {other} already")


def _check_groups(contracts: Mapping[str, Contract]) -> None:
    """A dataset with ``parallelism`` has drains of its own, which are called like it."""
    for name, contract in contracts.items():
        group = contract.extensions.get("drain_group")
        owner = contracts.get(str(group.value)) if group else None
        if group and owner and owner.name != name and owner.dataset and owner.dataset.parallelism > 1:
            group.refuse(
                f"{group.shown} are the drains of that dataset alone, for it has a parallelism of "
                f"{owner.dataset.parallelism}; name another group"
            )


def _check_topics(contracts: Mapping[str, Contract]) -> None:
    """Contracts that read one topic agree on what its messages are, and share no more partitions than it has."""
    first: dict[str, Dataset] = {}
    made = {d.topic: d for c in contracts.values() if (d := c.dataset) and d.topic and d.partitions}
    for contract in contracts.values():
        dataset = contract.dataset
        if dataset is None or dataset.topic is None:
            continue
        other = first.setdefault(dataset.topic, dataset)
        if (dataset.format, dataset.framing) != (other.format, other.framing):
            contract.document.root()["servers"].refuse(
                f"the messages of {dataset.topic} are {dataset.format} with framing {dataset.framing}; by {other.name} "
                f"they are {other.format} with framing {other.framing}"
            )
        maker = made.get(dataset.topic)
        if maker and maker is not dataset and maker.partitions and dataset.parallelism > maker.partitions:
            contract.extensions["parallelism"].refuse(
                f"{dataset.parallelism} drains would share the {maker.partitions} partitions that {maker.name} makes "
                f"of {dataset.topic}; at most one drain a partition"
            )


def _reads(contract: Contract, contracts: Mapping[str, Contract]) -> set[str]:
    inputs = contract.extensions.get("inputs")
    return {name for name, _ in inputs.fields() if name in contracts} if inputs else set()


def _check_inputs(contract: Contract, contracts: Mapping[str, Contract]) -> None:
    """The inputs exist, are what the SELECT reads, and their slices are of the mart's type."""
    inputs, mart = contract.extensions.get("inputs"), contract.dataset
    if inputs is None or mart is None or mart.transform is None or mart.slice_column is None:
        return
    own = mart.column(mart.slice_column)
    for name, place in inputs.fields():
        if name not in contracts:
            place.refuse(f"there is no dataset {name}; {did_you_mean(name, sorted(contracts))}")
            continue
        if not mentions(mart.transform, name):
            place.refuse(f"{mart.name}.sql does not read {name}; remove the input")
        dataset = contracts[name].dataset
        if dataset is None or place.value is None:
            continue
        known = [column.name for column in dataset.columns]
        if place.value not in known:
            place.refuse(f"{name} has no column {place.value}; {did_you_mean(place.value, known)}")
            continue
        column = dataset.column(place.value)
        if column.sql_type != own.sql_type:
            place.refuse(f"{name}.{column.name} is {column.sql_type}, but the slice {own.name} is {own.sql_type}")
        if not column.required:
            place.refuse(f"{name}.{column.name} may be null, and null is no slice; it needs required: true")
        if not column.served:
            place.refuse(f"{name}.{column.name} is {column.classification} and cannot be a slice")
    for name in sorted(relations(mart.transform) & set(contracts) - set(inputs.value)):
        inputs.refuse(f"{mart.name}.sql reads {name}; add it to the inputs, with a column or null")
