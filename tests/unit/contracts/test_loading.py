# ruff: noqa: E501 - messages stand whole
"""The folder as a whole: everything wrong is said at once, and what is right is resolved."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from pista.contracts.dataset import Kind, LogicalType, MartInput, Severity
from pista.contracts.document import read_document
from pista.contracts.loading import load_datasets
from pista.contracts.problems import ContractError

from .test_rules import MART, SOURCE, TRANSFORM, write


def messages(folder: Path) -> list[str]:
    with pytest.raises(ContractError) as caught:
        load_datasets(folder)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_all_problems_of_all_files_come_at_once_in_reading_order(tmp_path: Path) -> None:
    source = SOURCE.replace("primaryKey: true", "primarykey: true").replace(
        "maxLength: 9", "maxLength: 9, format: uuid"
    )
    source = source.replace("property: freshness", "property: frehsness").replace("value: min}", "value: 7}")
    write(tmp_path, source=source, mart=MART.replace("PT30S", "soon"), transform="DELETE FROM legs")
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    found = messages(tmp_path)
    places = [line.split(": ")[0] for line in found]
    assert places == ["broken.yaml:1", "daily.sql:1", "daily.yaml:9", "legs.yaml:27", "legs.yaml:37", "legs.yaml:42"]
    with pytest.raises(ContractError, match=r"^6 problems in 4 files:\n"):
        load_datasets(tmp_path)


def test_a_source_is_resolved(tmp_path: Path) -> None:
    datasets = load_datasets(write(tmp_path))
    legs = datasets["legs"]
    assert (legs.kind, legs.key, legs.topic, legs.partitions, legs.ordering) == (
        Kind.UPSERT,
        ("leg",),
        "nyc.legs",
        2,
        "seen_at",
    )
    assert (legs.freshness, legs.retention) == (timedelta(minutes=5), timedelta(days=2))
    assert (legs.owner, legs.support, legs.domain, legs.tags) == ("data", "data", "operations", ("aviation",))
    assert legs.contract_hash == hashlib.sha256((tmp_path / "legs.yaml").read_bytes()).hexdigest()
    assert legs.column("leg").required, "key columns are never null"
    delay = legs.column("delay")
    assert (delay.sql_type, delay.minimum, delay.maximum, delay.unit) == ("smallint", -60, 600, "min")
    state = legs.column("state")
    assert state.enum == ("left", "NO")
    assert (state.pattern, state.max_length) == ("^(?:[a-z]+)$", 9)
    distance = legs.column("distance")
    assert (distance.source, distance.sql_type) == ("Distancia aérea", "double precision")
    names = [rule.name for rule in legs.quality]
    assert names == ["has_rows", "days_are_known", "delay_null_values_must_be_less_than_5_percent"]
    assert legs.quality[2].severity is Severity.WARNING
    assert (legs.quality[2].column, legs.quality[2].unit, legs.quality[2].threshold) == ("delay", "percent", 5)


def test_a_mart_is_resolved_and_comes_after_its_inputs(tmp_path: Path) -> None:
    datasets = load_datasets(write(tmp_path))
    daily = datasets["daily"]
    assert list(datasets).index("daily") > list(datasets).index("legs")
    assert (daily.kind, daily.slice_column, daily.inputs) == (Kind.MART, "day", (MartInput("legs", "day"),))
    assert (daily.transform, daily.cooldown, daily.topic) == (TRANSFORM.strip(), timedelta(seconds=30), None)


def test_the_hash_covers_the_transform(tmp_path: Path) -> None:
    before = load_datasets(write(tmp_path))["daily"].contract_hash
    assert load_datasets(write(tmp_path, transform=TRANSFORM + "-- a note\n"))["daily"].contract_hash != before


def test_a_source_without_key_is_append(tmp_path: Path) -> None:
    text = SOURCE.replace("        primaryKey: true\n", "").replace("  - {property: ordering, value: seen_at}\n", "")
    legs = load_datasets(write(tmp_path, source=text))["legs"]
    assert (legs.kind, legs.key) == (Kind.APPEND, ())


def test_key_columns_are_in_the_order_of_their_positions(tmp_path: Path) -> None:
    text = SOURCE.replace("primaryKey: true", "primaryKey: true\n        primaryKeyPosition: 2")
    text = text.replace(
        "        logicalType: date\n",
        "        logicalType: date\n        primaryKey: true\n        primaryKeyPosition: 1\n",
    )
    assert load_datasets(write(tmp_path, source=text))["legs"].key == ("day", "leg")


@pytest.mark.parametrize(("classification", "served"), [("public", True), ("internal", True), ("pii", False)])
def test_classification_decides_what_is_served(tmp_path: Path, classification: str, served: bool) -> None:
    text = SOURCE.replace("logicalType: number", f"logicalType: number\n        classification: {classification}")
    assert load_datasets(write(tmp_path, source=text))["legs"].column("distance").served is served


def test_local_times_have_their_zone(tmp_path: Path) -> None:
    text = SOURCE.replace(
        "logicalType: timestamp",
        "logicalType: timestamp\n        logicalTypeOptions: {timezone: false, defaultTimezone: America/Bogota}",
    )
    column = load_datasets(write(tmp_path, source=text))["legs"].column("seen_at")
    assert (column.logical_type, column.zone) == (LogicalType.TIMESTAMP, "America/Bogota")


def test_placeholders_of_the_standard_get_their_names_here(tmp_path: Path) -> None:
    text = SOURCE.replace("FROM {table}", "FROM ${object}")
    assert load_datasets(write(tmp_path, source=text))["legs"].quality[1].query == (
        "SELECT count(*) FROM {table} WHERE day IS NULL"
    )


def test_custom_properties_of_other_vendors_are_none_of_ours(tmp_path: Path) -> None:
    text = SOURCE.replace(
        "customProperties:\n", "customProperties:\n  - {property: color, value: red, vendor: other}\n", 1
    )
    assert "legs" in load_datasets(write(tmp_path, source=text))


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        ("DELETE FROM legs", "daily.sql:1: must be one SELECT (or WITH ... SELECT)"),
        ("SELECT 1 FROM legs; DROP TABLE legs", "daily.sql:1: holds more than one statement; it must be one SELECT"),
        (
            "SELECT day FROM legs JOIN more USING (day)",
            "daily.yaml:8: customProperties[inputs].value: daily.sql reads more; add it to the inputs, with a column or null",
        ),
    ],
)
def test_transforms_that_cannot_be(tmp_path: Path, transform: str, problem: str) -> None:
    assert messages(write(tmp_path, transform=transform)) == [problem]


@pytest.mark.parametrize(
    "transform",
    [
        "-- why; so\nWITH more AS (SELECT * FROM legs) SELECT day, count(*) FROM more GROUP BY day;",
        "SELECT day FROM legs WHERE state = 'a; b' -- FROM more",
        "SELECT day FROM generate_series(1, 2), legs",
    ],
)
def test_transforms_that_can_be(tmp_path: Path, transform: str) -> None:
    assert "daily" in load_datasets(write(tmp_path, transform=transform))


def test_an_input_slice_must_be_required_and_served(tmp_path: Path) -> None:
    text = SOURCE.replace(
        "        logicalType: date\n        required: true\n",
        "        logicalType: date\n        classification: restricted\n",
    )
    assert messages(write(tmp_path, source=text)) == [
        "daily.yaml:8: customProperties[inputs].value.legs: legs.day may be null, and null is no slice; it needs required: true",
        "daily.yaml:8: customProperties[inputs].value.legs: legs.day is restricted and cannot be a slice",
    ]


def test_marts_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path, mart=MART.replace("{legs: day}", "{weekly: day}"), transform="SELECT day FROM weekly")
    (tmp_path / "weekly.yaml").write_text(MART.replace("daily", "weekly").replace("{legs: day}", "{daily: day}"))
    (tmp_path / "weekly.sql").write_text("SELECT day FROM daily")
    (message,) = messages(tmp_path)
    assert message.startswith(
        "daily.yaml:8: customProperties[inputs].value: marts cannot read each other in a circle: "
    )
    assert "daily reads weekly" in message
    assert "weekly reads daily" in message


def test_ids_and_managed_topics_are_unique(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "more.yaml").write_text(SOURCE.replace("name: legs", "name: more"), encoding="utf-8")
    assert messages(tmp_path) == [
        "more.yaml:3: id: 'legs-id' is the id of legs already; each contract has one of its own",
        "more.yaml:19: customProperties[managed].value: the topic nyc.legs is made by legs already",
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("Legs", "1legs", "legs__x", "x" * 41),
        *("legs_20260101", "legs_default", "legs_pkey", "legs_position", "legs_day_slice"),
    ],
)
def test_names_that_no_dataset_has(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.yaml").write_text(SOURCE.replace("name: legs", f"name: {name}"), encoding="utf-8")
    (message,) = messages(tmp_path)
    assert message.startswith(f"{name}.yaml:1: the file is named {name}.yaml, and a dataset's name")


def test_files_that_belong_to_no_dataset(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("a.yml", "b.sql", "c.py"):
        (tmp_path / name).write_text("SELECT 1")
    assert messages(tmp_path) == [
        "a.yml: is not read; contracts are named NAME.yaml, so rename it a.yaml",
        "b.sql: has no contract beside it; b.yaml is missing",
        "c.py: marts in Python are not supported yet; write c.sql",
    ]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="is no folder; PISTA_DATASETS_DIR"):
        load_datasets(tmp_path / "nowhere")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "legs.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert messages(tmp_path) == ["legs.yaml:2: not UTF-8: byte 0xff; save the file as UTF-8"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2013-01-01", "2013-01-01"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ("True", True),
        ('"12"', "12"),
        ("!", "!"),
    ],
)
def test_plain_values_follow_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"%YAML 1.1\n---\na: {text}\n" if text != "!" else 'a: "!"\n')
    document = read_document(path)
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_anchors_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &x [1, {b: 2}]\nc:\n  d: *x\n")
    document = read_document(path)
    assert document.data == {"a": [1, {"b": 2}], "c": {"d": [1, {"b": 2}]}}
    assert document.line(("c", "d")) == 3
    path.write_text("a: &x [*x]\n")
    assert "refers to no anchor" in str(read_document(path).problems[0])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("a: " + "[" * 3000 + "]" * 3000, "nested too deep here: at most 50 levels", id="depth"),
        pytest.param("version: " + "9" * 5000, "version: '99999", id="digits"),
    ],
)
def test_what_python_cannot_hold_is_a_problem_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "nasty.yaml"
    path.write_text(f"name: nasty\n{text}\n")
    (problem,) = read_document(path).problems
    assert sentence in str(problem)
    assert ":2: " in str(problem)
