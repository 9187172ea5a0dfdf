"""Tables of the documentation say what the code says."""

import re
from pathlib import Path

import click
import pytest

from pista.cli import main
from pista.commands import datasets as commands
from pista.contracts.dataset import Framing
from pista.ingest import conditions
from pista.ingest.reasons import Reason
from pista.kafka.formats.errors import Code
from pista.settings import Settings

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"


def rows(page: str, heading: str = "") -> dict[str, list[str]]:
    """First cell, without its quotes, to the other cells of a page's table."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else text
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in lines}


def test_every_setting_is_documented_with_its_default() -> None:
    expected = {
        f"PISTA_{name.upper()}": ["" if field.default is None else f"`{field.default}`", field.description]
        for name, field in Settings.model_fields.items()
    }
    assert rows("settings.md") == expected


def test_every_reason_of_quarantine_is_documented() -> None:
    assert set(rows("ingestion.md", "Reasons of quarantine")) == {reason.value for reason in Reason}


def test_every_trouble_of_a_format_is_documented() -> None:
    assert set(rows("formats.md", "What goes to quarantine")) == {code.value for code in Code}


def test_every_framing_is_documented() -> None:
    assert set(rows("formats.md", "Framings")) == {framing.value for framing in Framing}


def test_every_condition_is_documented_and_exported_by_name() -> None:
    codes = {condition.code for condition in conditions.IngestCondition.__subclasses__()}
    assert set(rows("ingestion.md", "Conditions that stop a dataset")) == codes
    assert all(name in str(conditions.IngestCondition.__doc__) for name in ("TopicMissing", "PartitionRemoved"))


def test_every_test_that_the_fault_tables_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (REFERENCE / "faults.md").read_text(encoding="utf-8")))
    folder = REFERENCE.parents[1] / "tests" / "integration"
    there = {name for file in folder.rglob("test_*.py") for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    assert named
    assert named <= there


def test_every_command_of_the_life_of_a_dataset_exists_with_its_options() -> None:
    text = (REFERENCE / "lifecycle.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `pista ([^`]+)` \| ", text, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        words = line.replace("\\|", "|").split()
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0)) or pytest.fail(line)
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
        assert {word for word in words if word.isupper()} - {"TEXT"} <= {str(p.name).upper() for p in command.params}
    assert set(commands.dataset.commands) >= {"new", "load", "rebuild", "drop"}
