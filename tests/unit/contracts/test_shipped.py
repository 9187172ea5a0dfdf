"""The contracts of this repository, and the page that explains them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pista.contracts.columns import OPTIONS
from pista.contracts.dataset import Coercion, Kind
from pista.contracts.extensions import EXTENSIONS
from pista.contracts.loading import load_datasets
from pista.contracts.paths import RECORD_FIELDS
from pista.contracts.quality import METRICS
from pista.contracts.reading import DIRECTIVES

REPOSITORY = Path(__file__).parents[3]
DATASETS = REPOSITORY / "datasets"
PAGE = (REPOSITORY / "docs" / "reference" / "contracts.md").read_text(encoding="utf-8")


def test_they_load() -> None:
    datasets = load_datasets(DATASETS)
    kinds = {name: dataset.kind for name, dataset in datasets.items()}
    assert kinds == {
        "airlines": Kind.UPSERT,
        "airports": Kind.UPSERT,
        "flights": Kind.UPSERT,
        "planes": Kind.UPSERT,
        "weather": Kind.APPEND,
        "punctuality_daily": Kind.MART,
    }
    for dataset in datasets.values():
        assert dataset.description
        assert dataset.owner
        assert dataset.support
        assert dataset.freshness
        assert all(column.description for column in dataset.columns), dataset.name
        assert all(rule.description for rule in dataset.quality), dataset.name
        assert dataset.topic == (f"nyc.{dataset.name}" if dataset.is_source else None)


def test_examples_satisfy_their_columns() -> None:
    for dataset in load_datasets(DATASETS).values():
        for column in dataset.columns:
            for example in column.examples:
                assert column.pattern is None or re.fullmatch(column.pattern, str(example), re.ASCII), column.name
                assert column.minimum is None or example >= column.minimum  # type: ignore[operator]


@pytest.mark.parametrize("file", sorted(DATASETS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_linter_that_is_not_ours_accepts_them(file: Path) -> None:
    linter = shutil.which("datacontract", path=str(Path(sys.executable).parent))
    assert linter, "datacontract-cli is one of the development tools"
    answer = subprocess.run([linter, "lint", str(file)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def _rows(header: str) -> list[list[str]]:
    """Cells of the table under that header."""
    lines = PAGE[PAGE.index(header) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_the_table_of_custom_properties() -> None:
    written = _rows("| property | of | applies to |")
    assert written == [[f"`{e.name}`", e.place, e.applies_to, e.value, e.meaning] for e in EXTENSIONS]


def test_the_page_has_the_options_of_each_type() -> None:
    written = {
        row[0].strip("`"): re.findall(r"`([a-zA-Z]+)`", re.sub(r"\(.*?\)", "", row[1]))
        for row in _rows("| `logicalType` | `logicalTypeOptions` |")
    }
    assert written == {kind.value: list(options) for kind, options in OPTIONS.items()}


def test_the_page_has_the_forms_of_values_and_the_places_of_a_record() -> None:
    forms = [name for row in _rows("| `coerce` | for |") for name in re.findall(r"`(\w+)`", row[0])]
    assert forms == [coercion.value for coercion in Coercion]
    assert " ".join(f"%{letter}" for letter in DIRECTIVES) in PAGE.replace("\n", " ")
    places = [place for row in _rows("| `source` | is |") for place in re.findall(r"`record\.(\w+)`", row[0])]
    assert tuple(places) == RECORD_FIELDS


def test_the_page_has_the_metrics() -> None:
    written = {row[0].strip("`"): set(row[1].split(", ")) for row in _rows("| metric | of |")}
    assert written == {name: set(levels) for name, (levels, _) in METRICS.items()}
