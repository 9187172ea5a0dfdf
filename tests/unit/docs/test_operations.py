"""Runbook and reference of operators name commands that exist, and leave none out."""

import re
from pathlib import Path

import click
import pytest

from pista.cli import main
from pista.ingest.conditions import IngestCondition

DOCS = Path(__file__).resolve().parents[3] / "docs"
RUNBOOK = (DOCS / "runbooks" / "ingestion-conditions.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "reference" / "operations.md").read_text(encoding="utf-8")
CONDITIONS = IngestCondition.__subclasses__()
PARTS = ("You see", "Why", "Check", "Commands", "Lost")


def commands(text: str) -> list[str]:
    """What is typed after `pista` in a text, in its code."""
    return re.findall(r"(?:`|^)pista ([^`\n]+)", text, re.MULTILINE)


def refuse_unknown(typed: str) -> None:
    """Fail unless the command, and each option that is named with it, exists."""
    words = typed.split()
    command: click.Command | None = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words:
        command = command.get_command(context, words.pop(0))
    assert command is not None, f"there is no command `pista {typed}`"
    options = {name for parameter in command.params for name in parameter.opts}
    for word in words:
        assert not word.startswith("--") or word in options, f"`pista {typed}`: there is no option {word}"


def test_every_condition_has_its_section_with_all_parts() -> None:
    sections = dict(re.findall(r"^## ([A-Z_]+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert set(sections) == {condition.code for condition in CONDITIONS}
    for code, section in sections.items():
        assert [part for part in PARTS if f"**{part}**" not in section] == [], code


@pytest.mark.parametrize("text", [RUNBOOK, REFERENCE], ids=["runbook", "reference"])
def test_commands_of_the_documents_exist(text: str) -> None:
    assert commands(text)
    for typed in commands(text):
        refuse_unknown(typed)


def test_each_condition_says_how_to_go_on_and_its_commands_exist_and_are_in_its_section() -> None:
    for condition in CONDITIONS:
        assert condition.way_on, f"{condition.code} says nothing of how to go on"
        section = RUNBOOK.split(f"## {condition.code}\n")[1].split("\n## ")[0]
        for typed in commands(condition.way_on):
            refuse_unknown(typed)
            assert " ".join(typed.split()[:2]) in section, f"{condition.code}: the section lacks `pista {typed}`"


def test_every_command_of_operators_is_in_the_table() -> None:
    context = click.Context(main)
    found = {f"dataset {name}" for name in ("pause", "resume", "replay")}
    for name in ("offsets", "quarantine"):
        group = main.get_command(context, name)
        assert isinstance(group, click.Group)
        found |= {f"{name} {one}" for one in group.commands}
    assert set(re.findall(r"^\| `pista ([\w -]+)` \|", REFERENCE, re.MULTILINE)) == found
