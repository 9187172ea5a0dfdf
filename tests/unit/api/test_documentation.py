"""The reference page matches the code."""

import re
from pathlib import Path

from api.filters import COMPARISONS, MAX_LIST, OPERATORS, STATES
from api.grammar import DEFAULT_LIMIT, MAX_LIMIT, PARAMETERS
from api.keys import CACHE_SECONDS
from api.problems import CODES
from api.versions import FRESH_SECONDS
from pista.settings import Settings

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


def test_every_problem_is_listed_with_its_status() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert {code: (int(status), title) for code, status, title in listed} == CODES


def test_every_operator_and_parameter_is_listed() -> None:
    for operator in [*COMPARISONS, *(word for word in OPERATORS if word not in ("not", *COMPARISONS))]:
        assert re.search(rf"`{operator}[`.]", TEXT), operator
    assert all(f"is.{state}" in TEXT for state in STATES)
    assert all(f"`{name}=" in TEXT for name in PARAMETERS)


def test_limits_are_the_ones_in_force() -> None:
    assert f"1 to {MAX_LIMIT:,}; default {DEFAULT_LIMIT:,}" in TEXT
    assert f"at most {MAX_LIST:,} values" in TEXT
    assert f"remembered for {CACHE_SECONDS:g} seconds" in TEXT
    assert f"less than {FRESH_SECONDS:g} seconds" in TEXT


def test_every_setting_of_the_api_is_listed() -> None:
    names = [f"PISTA_{name.upper()}" for name in Settings.model_fields if name.startswith("api_")]
    assert names
    assert all(f"`{name}`" in TEXT for name in names)
