"""Filters and pages against an oracle in Python."""

import operator
import re
from datetime import date, datetime
from functools import cmp_to_key
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COMPARE = {
    "eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
}  # fmt: skip
NAMES = ["station", "sensor", "label", "level", "total", "ratio", "weight", "flag", "day", "seen_at", "state"]
relaxed = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_text(value: Any) -> str:
    """A value as a client writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def like(pattern: str, value: str) -> bool:
    """SQL's LIKE with PostgREST's star."""
    expression, escaped = "", False
    for character in pattern.replace("*", "%"):
        if escaped:
            expression, escaped = expression + re.escape(character), False
        elif character == "\\":
            escaped = True
        else:
            expression += {"%": ".*", "_": "."}.get(character, re.escape(character))
    return re.fullmatch(expression, value, re.DOTALL) is not None


def holds(row: dict[str, Any], condition: tuple[str, bool, str, Any]) -> bool:
    """SQL's three-valued logic: unknown does not hold, negated or not."""
    name, negated, word, operand = condition
    value = row[name]
    if word == "is":
        if operand in ("null", "not_null"):
            answer = (value is None) == (operand == "null")
        else:
            answer = value is {"true": True, "false": False, "unknown": None}[operand]
        return answer != negated
    if word == "in" and not operand:
        return negated  # nothing is in an empty list, whatever it is
    if value is None:
        return False
    if word == "in":
        answer = value in operand
    elif word == "like":
        answer = like(operand, value)
    else:
        answer = COMPARE[word](value, operand)
    return answer != negated


def key(row: dict[str, Any]) -> tuple[str, int]:
    return row["station"], row["sensor"]


@st.composite
def conditions(draw: Any, rows: list[dict[str, Any]]) -> tuple[str, bool, str, Any]:
    name = draw(st.sampled_from(NAMES))
    negated = draw(st.booleans())
    values = st.sampled_from([row[name] for row in rows if row[name] is not None])
    words = ["eq", "neq", "gt", "gte", "lt", "lte", "in", "is"] + (["like"] if name in ("station", "label") else [])
    word = draw(st.sampled_from(words))
    if word == "is":
        states = ["null", "not_null"] + (["true", "false", "unknown"] if name == "flag" else [])
        return name, negated, word, draw(st.sampled_from(states))
    if word == "in":
        return name, negated, word, draw(st.lists(values, max_size=4))
    if word == "like":
        text = draw(values)
        pieces = draw(st.lists(st.sampled_from(["*", "%", "_", "\\\\", "\\%", "a", "b", " ", text]), max_size=4))
        pattern = "".join(pieces)
        return name, negated, word, pattern + ("\\" if len(pattern) - len(pattern.rstrip("\\")) & 1 else "")
    if name in ("label", "station") and draw(st.booleans()):
        characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
        return name, negated, word, draw(st.text(characters, max_size=4))
    return name, negated, word, draw(values)


def as_parameter(condition: tuple[str, bool, str, Any]) -> tuple[str, str]:
    name, negated, word, operand = condition
    if word == "in":
        operand = "(" + ",".join(quoted(as_text(value)) for value in operand) + ")"
    return name, f"{'not.' if negated else ''}{word}.{as_text(operand)}"


@relaxed
@given(data=st.data())
def test_filters_agree_with_the_oracle(api: Any, readings: list[dict[str, Any]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(conditions(readings), min_size=1, max_size=3))
    answer = api.get("/v1/readings", params=[("select", "station,sensor"), *map(as_parameter, chosen)])
    assert answer.status_code == 200, answer.text
    expected = {key(row) for row in readings if all(holds(row, condition) for condition in chosen)}
    assert {key(row) for row in answer.json()} == expected
    assert len(answer.json()) == len(expected)


def compare(terms: list[tuple[str, bool, bool]]) -> Any:
    """An order of rows: (column, descending, nulls first) each."""

    def order(left: dict[str, Any], right: dict[str, Any]) -> int:
        for name, descending, nulls_first in terms:
            a, b = left[name], right[name]
            if a == b:
                continue
            if a is None or b is None:
                return -1 if (a is None) == nulls_first else 1
            return -1 if (a < b) != descending else 1
        return 0

    return cmp_to_key(order)


@relaxed
@given(data=st.data())
def test_a_walk_is_the_full_set_in_order(api: Any, readings: list[dict[str, Any]], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    terms, texts = [], []
    for name in names:
        descending = data.draw(st.booleans())
        nulls = data.draw(st.sampled_from([None, "nullsfirst", "nullslast"]))
        terms.append((name, descending, nulls == "nullsfirst" if nulls else descending))
        texts.append(
            name
            + (".desc" if descending else data.draw(st.sampled_from(["", ".asc"])))
            + (f".{nulls}" if nulls else "")
        )
    last = terms[-1][1] if terms else False
    terms += [(name, last, last) for name in ("station", "sensor") if name not in names]
    limit = data.draw(st.integers(17, 250))
    condition = data.draw(st.sampled_from([[], [("level", "gte.0")], [("label", "is.null")]]))
    parameters = [*condition, ("select", "station,sensor"), ("limit", str(limit))]
    if texts:
        parameters.append(("order", ",".join(texts)))
    expected = [row for row in readings if not condition or holds(row, _condition(condition[0]))]
    expected.sort(key=compare(terms))
    assert [key(row) for row in walk(api, parameters, limit)] == [key(row) for row in expected]


def _condition(parameter: tuple[str, str]) -> tuple[str, bool, str, Any]:
    word, _, operand = parameter[1].partition(".")
    return parameter[0], False, word, 0 if operand == "0" else operand


def walk(api: Any, parameters: list[tuple[str, str]], limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    answer = api.get("/v1/readings", params=parameters)
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        extent = f"{len(rows)}-{len(rows) + len(page) - 1}" if page else "*"
        assert answer.headers["Content-Range"] == f"{extent}/*"
        rows += page
        if "next" not in answer.links:
            return rows
        assert len(page) == limit
        answer = api.get(answer.links["next"]["url"])


def test_a_walk_passes_nan_and_infinity(api: Any) -> None:
    api.execute(
        "INSERT INTO curated.readings (station, sensor, ratio, seen_at, day, state, _version, hidden) "
        "SELECT 'nan', i, (ARRAY['NaN', 'Infinity', '-Infinity'])[1 + i % 3]::float8,"
        " (ARRAY['infinity', '-infinity'])[1 + i % 2]::timestamptz,"
        " (ARRAY['infinity', '-infinity'])[1 + i % 2]::date, 'open', 1, '' FROM generate_series(1, 12) i",
    )
    try:
        for order in ("ratio.desc.nullslast", "seen_at", "day.desc,ratio"):
            parameters = [("station", "eq.nan"), ("select", "station,sensor"), ("order", order), ("limit", "5")]
            assert sorted(key(row)[1] for row in walk(api, parameters, 5)) == list(range(1, 13))
        assert len(api.get("/v1/readings?station=eq.nan&ratio=eq.NaN").json()) == 4
    finally:
        api.execute("DELETE FROM curated.readings WHERE station = 'nan'")


def test_values_arrive_as_they_are(api: Any, readings: list[dict[str, Any]]) -> None:
    served = {key(row): row for row in api.get("/v1/readings").json()}
    for row in readings:
        got = served[key(row)]
        assert list(got) == NAMES
        for name in NAMES:
            value = datetime.fromisoformat(got[name]) if name == "seen_at" and got[name] else got[name]
            assert value == (row[name].isoformat() if name == "day" and row[name] else row[name]), name
    times = [row["seen_at"] for row in served.values() if row["seen_at"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", text) for text in times)


def test_append_datasets_page_by_their_place_in_the_log(api: Any) -> None:
    answer = api.get("/v1/events?limit=50")
    following = api.get(answer.links["next"]["url"])
    notes = [row["note"] for row in [*answer.json(), *following.json()]]
    assert notes == [f"n{i}" for i in sorted(range(90), key=lambda i: (i % 3, i))]
    assert list(answer.json()[0]) == ["note"]
    assert api.get("/v1/events?select=_offset&_partition=eq.1&limit=1").json() == [{"_offset": 1}]


def test_one_record(api: Any) -> None:
    assert api.get("/v1/readings/A,7?select=station,sensor").json() == {"station": "A", "sensor": 7}
    assert api.get("/v1/readings/B%2C1,7?select=station,sensor").json() == {"station": "B,1", "sensor": 7}
    assert api.get("/v1/readings/c%2Fd,7?select=station").json() == {"station": "c/d"}
    assert api.get("/v1/readings/%E6%97%A5,0?select=station").json() == {"station": "日"}
    assert api.get("/v1/events/0,1,4").json() == {"note": "n4"}
    assert api.get("/v1/readings/A,4711").json()["code"] == "unknown-record"
    assert api.get("/v1/readings/A").json()["message"] == "The key of readings has 2 values, not 1."
    assert api.get("/v1/readings/A,x").json()["code"] == "invalid-value"
    assert api.get("/v1/readings/A,7?limit=1").json()["code"] == "unknown-parameter"


@pytest.mark.parametrize(
    "text",
    [
        "seen_at=eq.2013-01-01T01:00:00.000001Z",
        "seen_at=eq.2013-01-01T02:00:00.000001%2B01:00",
        "seen_at=eq.2013-01-01T02:00:00.000001+01:00",  # the plus becomes a space
        "seen_at=eq.2013-01-01T01:00:00.000001",
    ],
)
def test_times_mean_utc_unless_they_say_otherwise(api: Any, readings: list[dict[str, Any]], text: str) -> None:
    moment = datetime.fromisoformat("2013-01-01T01:00:00.000001+00:00")
    expected = sum(row["seen_at"] == moment for row in readings)
    assert expected
    assert len(api.get(f"/v1/readings?{text}").json()) == expected


def test_link_keeps_the_query(api: Any) -> None:
    answer = api.get("/v1/readings", params={"label": "neq.a&b=c", "limit": "3", "select": "label,day"})
    link = answer.links["next"]["url"]
    assert link.startswith(f"{api.url}/v1/readings?")
    assert "label=neq.a%26b%3Dc" in urlsplit(link).query
