"""What a contract would do, without doing it: lint, DDL, and a trial on sampled records."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from pista.contracts.dataset import Dataset
from pista.ingest.decode import Decoder
from pista.ingest.reasons import Rejection
from pista.kafka.records import Records
from pista.settings import Settings

LINTER = "datacontract"
LINT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the records of a sample."""

    records: int
    rows: int
    deletions: int
    filtered: int
    ambiguous: int  # local times that exist twice
    quarantined: Mapping[str, int]  # by reason
    examples: Mapping[str, str]  # by reason: where its first record is, and the sentence
    unknown_fields: Mapping[str, int]

    def lines(self) -> Iterator[str]:
        """The result for people."""
        deletes = f", of which {self.deletions} delete their row" if self.deletions else ""
        yield f"{self.rows} would load{deletes}"
        if self.ambiguous:
            yield f"{self.ambiguous} of their local times exist twice; the first would be taken"
        if self.filtered:
            yield f"{self.filtered} would be filtered: they belong to others"
        yield f"{sum(self.quarantined.values())} would be quarantined" + (":" if self.quarantined else "")
        for reason, count in self.quarantined.items():
            yield f"  {count} {reason}, such as {self.examples[reason]}"
        if self.unknown_fields:
            fields = ", ".join(f"{name} ({count})" for name, count in self.unknown_fields.items())
            yield f"fields that the contract does not know, and how many records have them: {fields}"


def lint(dataset: Dataset) -> Iterator[str]:
    """What is valid about the contract of a dataset that is loaded; the standard's own linter is asked if it is there.

    Raises:
        ClickException: the linter refuses it.
    """
    path = dataset.path
    if path is None:
        raise TypeError(f"dataset {dataset.name} was not read from a file")
    yield f"{path}: valid by the standard and by Pista's rules."
    found = shutil.which(LINTER, path=str(Path(sys.executable).parent)) or shutil.which(LINTER)
    if found is None:
        yield f"{LINTER} is not installed, and was not asked."
        return
    try:
        answer = subprocess.run(  # noqa: S603 - the arguments are our own
            [found, "lint", str(path)], capture_output=True, text=True, check=False, timeout=LINT_SECONDS
        )
    except subprocess.TimeoutExpired:
        yield f"`{LINTER} lint` did not answer within {LINT_SECONDS} s."
        return
    if answer.returncode:
        raise click.ClickException(f"`{LINTER} lint` refuses {path}:\n{answer.stdout}{answer.stderr}")
    yield f"`{LINTER} lint` accepts it."


def try_contract(dataset: Dataset, settings: Settings, records: Records) -> Trial:
    """Decode the records as a drain would; no database is asked."""
    decoded = Decoder(dataset, settings).decode(records)
    first: dict[str, Rejection] = {}
    for rejection in decoded.rejections:
        first.setdefault(rejection.reason.value, rejection)
    counts = Counter(rejection.reason.value for rejection in decoded.rejections)

    def example(rejection: Rejection) -> str:
        place = f"partition {records.partitions[rejection.index]}, offset {records.offsets[rejection.index]}"
        return f"{place}: {rejection.detail}"

    return Trial(
        records=len(records),
        rows=len(decoded.index),
        deletions=int(sum(decoded.table["_tombstone"].to_pylist())),
        filtered=len(decoded.filtered),
        ambiguous=decoded.ambiguous,
        quarantined=dict(counts.most_common()),
        examples={reason: example(rejection) for reason, rejection in first.items()},
        unknown_fields=decoded.unknown_fields,
    )
