"""The reference page says what the code does."""

import importlib
import re
from pathlib import Path

import pytest

from dagster_project.build import build_defs
from dagster_project.coalesce import COUNTS, TIMES
from pista.settings import Settings

from .conftest import DATASETS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "orchestration.md").read_text(encoding="utf-8")
NUMBERS = re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("name", "value", "module"), NUMBERS)
def test_number(name: str, value: str, module: str) -> None:
    assert getattr(importlib.import_module(f"dagster_project.{module}"), name) == float(value)


def test_numbers_are_there() -> None:
    mentioned = set(re.findall(r"`([A-Z]+_?[A-Z]+)` seconds", PAGE))
    assert mentioned
    assert mentioned <= {name for name, _, _ in NUMBERS}


def test_metadata_keys_are_named() -> None:
    assert [key for key in (*COUNTS, *TIMES) if f"`{key}`" not in PAGE] == []


def test_jobs_and_sensors_are_named() -> None:
    repository = build_defs(Settings(), datasets=DATASETS).get_repository_def()
    names = [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")]
    names += [re.sub(r"\d+", "<n>", sensor.name) for sensor in repository.sensor_defs]
    assert [name for name in names if f"`{name}`" not in PAGE] == []
