"""What is inferred from messages, and that it always loads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pista.contracts.contract import read_contract
from pista.contracts.dataset import Coercion, Column, Dataset, Filter, Format, Framing, Kind, LogicalType, Origin
from pista.contracts.inference import InferenceError, infer_contract
from pista.contracts.names import column_name_problem
from pista.contracts.sampled import column_name

Message = tuple[bytes | None, bytes | None]


def inferred(messages: list[Message], **options: Any) -> tuple[Dataset, str]:
    text = infer_contract("trips", "co.trips", messages, **options)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trips.yaml"
        path.write_text(text, encoding="utf-8")
        contract = read_contract(path)
    assert contract.dataset is not None, (text, [str(p) for p in contract.document.problems])
    return contract.dataset, text


def one(values: list[object], source: str = "x") -> Column:
    dataset, _ = inferred([(None, json.dumps({source: value, "row": True}).encode()) for value in values])
    return dataset.columns[0]


@pytest.mark.parametrize(
    ("values", "kind", "required"),
    [
        ([1, 2], LogicalType.INTEGER, True),
        ([1, 2.5, None], LogicalType.NUMBER, False),
        ([True], LogicalType.BOOLEAN, True),
        (["2024-02-29", "2024-01-01"], LogicalType.DATE, True),
        (["2023-02-29"], LogicalType.STRING, True),
        (["2024-01-01T10:00:00Z", "2024-01-01 10:00-05:00"], LogicalType.TIMESTAMP, True),
        (["2024-01-01T10:00:00", "2024-01-01 10:00"], LogicalType.TIMESTAMP, True),
        (["2024-01-01T10:00:00", "2024-01-01T10:00:00Z"], LogicalType.STRING, True),
        (["012", "13"], LogicalType.STRING, True),
        (["AV1", ""], LogicalType.STRING, True),
        ([{"a": {"b": {"c": {"d": 1}}}}], LogicalType.OBJECT, True),
        ([{}, None], LogicalType.OBJECT, False),
        ([[1], []], LogicalType.ARRAY, True),
    ],
)
def test_types(values: list[object], kind: LogicalType, required: bool) -> None:
    column = one(values)
    assert (column.logical_type, column.required) == (kind, required)


def test_times_without_zone_are_marked_for_checking() -> None:
    dataset, text = inferred([(None, b'{"hora": "2024-01-01T10:00:00"}')])
    assert dataset.column("hora").zone == "UTC"
    assert "CHECK that they are UTC" in text


def test_an_enum_only_where_it_is_clear() -> None:
    assert one(["a", "b"] * 100).enum == ("a", "b")
    assert one(["a", "b"] * 99).enum == (), "too few records"
    assert one(["a"] * 200).enum == (), "one value tells nothing"
    assert one(["a"] * 200 + ["b"] * 4).enum == (), "b is too rare to say that nothing else comes"
    assert one([f"v{n % 11}" for n in range(220)]).enum == (), "too many values"


def test_a_keyed_topic_is_upsert() -> None:
    dataset, text = inferred([(b"7", b'{"n": 1, "vuelo": "7"}'), (b"8", b'{"n": 1, "vuelo": "8"}'), (b"8", None)])
    assert (dataset.kind, dataset.key) == (Kind.UPSERT, ("vuelo",))
    assert "# One row a vuelo: the Kafka key" in text


def test_a_topic_without_keys_is_append_unless_an_id_is_clear() -> None:
    assert inferred([(None, b'{"n": 1}'), (None, b'{"n": 2}')])[0].kind is Kind.APPEND
    assert inferred([(None, b'{"id_vuelo": 1}'), (None, b'{"id_vuelo": 2}')])[0].key == ("id_vuelo",)
    assert inferred([(None, b'{"id_vuelo": 1}'), (None, b'{"id_vuelo": 1}')])[0].kind is Kind.APPEND
    assert inferred([(b"other", b'{"n": "1"}')])[0].kind is Kind.APPEND


def test_what_no_column_can_hold_is_left_out_and_said() -> None:
    rows = [{"a": 1, "b": None, "c": [1], "d": "\x00", "": 1, "e": 1}, {"a": "x", "c": "y", "e": 2}]
    dataset, text = inferred([(None, json.dumps(row).encode()) for row in rows])
    assert [column.name for column in dataset.columns] == ["e"]
    assert text.count("is left out") == 5
    assert "several types (1 array, 1 text)" in text
    assert "# - {name: c, logicalType: array}" in text


def rows_of(values: list[object], source: str = "x") -> list[Message]:
    return [(None, json.dumps({source: value, "row": True}).encode()) for value in values]


@pytest.mark.parametrize(
    ("values", "odd", "kind", "coercion", "form"),
    [
        ([*range(40)], "abc", LogicalType.INTEGER, None, None),
        ([n + 0.5 for n in range(40)], "abc", LogicalType.NUMBER, None, None),
        ([*map(str, range(40))], "abc", LogicalType.INTEGER, Coercion.TEXT, None),
        ([True, False] * 20, "maybe", LogicalType.BOOLEAN, None, None),
        (["true", "false"] * 20, "maybe", LogicalType.BOOLEAN, Coercion.TEXT, None),
        ([f"2026-11-{n % 28 + 1:02d}" for n in range(40)], "soon", LogicalType.DATE, None, None),
        ([f"2026-11-{n % 28 + 1:02d}T10:00:00Z" for n in range(40)], "soon", LogicalType.TIMESTAMP, None, None),
        ([f"{n % 28 + 1:02d}/11/2026" for n in range(40)], "soon", LogicalType.DATE, None, "%d/%m/%Y"),
        ([f"name {n}" for n in range(40)], 7, LogicalType.STRING, None, None),
        ([[n] for n in range(40)], "abc", LogicalType.ARRAY, None, None),
    ],
)
def test_one_broken_value_does_not_spoil_the_type(
    values: list[object], odd: object, kind: LogicalType, coercion: Coercion | None, form: str | None
) -> None:
    dataset, text = inferred(rows_of([*values, odd]))
    column = dataset.columns[0]
    assert (column.logical_type, column.coercion, column.time_format) == (kind, coercion, form)
    assert column.required
    said = f"# CHECK: so are 40 of 41 sampled values; the other goes to quarantine, such as {json.dumps(odd)}"
    assert said in text
    assert "# CHECK: 1 of the 41 sampled rows will go to quarantine" in text


def test_more_than_a_few_broken_values_are_no_accident() -> None:
    dataset, text = inferred(rows_of([*range(40), *["abc"] * 3]))
    assert [column.name for column in dataset.columns] == ["row"]
    assert "several types (40 whole number, 3 text)" in text
    assert "# To keep the 40 and have the others in quarantine, write:" in text
    line = text.split("write:\n", 1)[1].split("\n", 1)[0]
    instead = text.replace(line, line.replace("# - ", "- "))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trips.yaml"
        path.write_text(instead, encoding="utf-8")
        written = read_contract(path).dataset
    assert written is not None
    assert written.column("x").logical_type is LogicalType.INTEGER
    assert [c.name for c in inferred(rows_of([*range(18), "abc"]))[0].columns] == ["row"], "of few, one says something"


def test_a_few_broken_records_do_not_spoil_the_key_and_what_is_required() -> None:
    whole: list[Message] = [(f"b{n}".encode(), json.dumps({"bag": f"b{n}", "n": n}).encode()) for n in range(40)]
    dataset, text = inferred([*whole, (b"b41", b'{"other": 1}')])
    assert (dataset.key, dataset.column("n").required) == (("bag",), True)
    assert "the Kafka key of 40 of 41 sampled messages is this field" in text
    assert "required: true # none of 41 records lacks it, but for 1 that is broken" in text
    assert "# CHECK: 1 of the 41 sampled rows will go to quarantine" in text
    optional = [(key, b'{"bag": "b0"}') if key == b"b0" else (key, value) for key, value in whole]
    dataset, text = inferred(optional)
    assert not dataset.column("n").required, "a record that lacks one field only may be whole"
    assert "will go to quarantine" not in text


@pytest.mark.parametrize(
    ("source", "values", "kind", "coercion", "form"),
    [
        ("x", ["12", "-3"], LogicalType.INTEGER, Coercion.TEXT, None),
        ("x", ["12", 13], LogicalType.INTEGER, Coercion.TEXT, None),
        ("x", ["1.50", "2e3", 1], LogicalType.NUMBER, Coercion.TEXT, None),
        ("x", ["true", "false", True], LogicalType.BOOLEAN, Coercion.TEXT, None),
        ("zip_code", ["12345"], LogicalType.STRING, None, None),
        ("flightNumber", ["12"], LogicalType.STRING, None, None),
        ("x", ["9" * 20], LogicalType.STRING, None, None),
        ("x", ["1e999"], LogicalType.STRING, None, None),
        ("createdAt", [1_700_000_000], LogicalType.TIMESTAMP, Coercion.EPOCH_S, None),
        ("createdAt", [1_700_000_000.25], LogicalType.TIMESTAMP, Coercion.EPOCH_S, None),
        ("x", [1_700_000_000], LogicalType.INTEGER, None, None),
        ("x", [1_700_000_000_000, 1_600_000_000_123], LogicalType.TIMESTAMP, Coercion.EPOCH_MS, None),
        ("x", [1_700_000_000_000_000], LogicalType.TIMESTAMP, Coercion.EPOCH_US, None),
        ("x", [1_700_000_000_000_000_000], LogicalType.TIMESTAMP, Coercion.EPOCH_NS, None),
        ("x", ["1700000000000"], LogicalType.TIMESTAMP, Coercion.EPOCH_MS, None),
        ("x", [1_700_000_000_000, 5], LogicalType.INTEGER, None, None),
        ("trip_id", [1_700_000_000_000, 1_700_000_000_000], LogicalType.INTEGER, None, None),
        ("x", ["25/11/2026", "01/02/2026"], LogicalType.DATE, None, "%d/%m/%Y"),
        ("x", ["11/25/2026"], LogicalType.DATE, None, "%m/%d/%Y"),
        ("x", ["25NOV26", "1Dec26"], LogicalType.DATE, None, "%d%b%y"),
        ("x", ["20261125"], LogicalType.DATE, None, "%Y%m%d"),
        ("x", ["20269999"], LogicalType.INTEGER, Coercion.TEXT, None),
        ("x", ["25/11/2026 10:05"], LogicalType.TIMESTAMP, None, "%d/%m/%Y %H:%M"),
        ("x", ["25.11.2026 10:05:06.5 +0100"], LogicalType.TIMESTAMP, None, "%d.%m.%Y %H:%M:%S.%f %z"),
        ("x", ["Nov 25, 2026 10:05 PM"], LogicalType.TIMESTAMP, None, "%b %d, %Y %I:%M %p"),
        ("x", ["20261125100500"], LogicalType.TIMESTAMP, None, "%Y%m%d%H%M%S"),
        ("x", ["0001-01-01T00:00:00+05:00"], LogicalType.STRING, None, None),
    ],
)
def test_forms(
    source: str, values: list[object], kind: LogicalType, coercion: Coercion | None, form: str | None
) -> None:
    column = one(values, source)
    assert (column.logical_type, column.coercion, column.time_format) == (kind, coercion, form)


def test_an_empty_text_where_numbers_stand_is_nothing() -> None:
    column = one(["1.5", ""])
    assert (column.logical_type, column.coercion, column.required) == (LogicalType.NUMBER, Coercion.TEXT, False)


def test_days_and_months_that_could_have_changed_places_are_to_be_checked() -> None:
    _, text = inferred([(None, b'{"x": "01/02/2026"}'), (None, b'{"x": "03/04/2026"}')])
    assert "CHECK that the day comes first: %m/%d/%Y fits all sampled values too" in text
    assert "comes first" not in inferred([(None, b'{"x": "13/02/2026"}')])[1]


def test_objects_are_flattened_by_path() -> None:
    rows = [
        {"flight": {"id": 1, "from.to": "BOG", "legs": [{"n": 1}]}, "key": {"x": 1}, "a_b": 1, "a": {"b": 2}},
        {"flight": {"id": 2, "crew": None}, "key": None, "a_b": 1, "a": {"b": 2}},
    ]
    dataset, _ = inferred([(None, json.dumps(row).encode()) for row in rows])
    assert [(c.name, c.path, c.required) for c in dataset.columns] == [
        ("flight_id", ("flight", "id"), True),
        ("flight_from_to", ("flight", "from.to"), False),
        ("flight_legs", ("flight", "legs"), False),
        ("key_x", ("key", "x"), False),
        ("a_b", (), True),
        ("a_b_2", ("a", "b"), True),
    ]
    assert all(column.origin is Origin.VALUE for column in dataset.columns)


def test_an_object_whose_keys_are_data_stays_whole() -> None:
    rows = [{"seats": {f"{n}{letter}": True for letter in "ABC"}} for n in range(20)]
    dataset, _ = inferred([(None, json.dumps(row).encode()) for row in rows])
    assert [(c.name, c.logical_type) for c in dataset.columns] == [("seats", LogicalType.OBJECT)]


def test_a_composite_key() -> None:
    messages: list[Message] = [
        (json.dumps({"day": "2026-11-25", "leg": n}).encode(), json.dumps({"leg": n, "x": 1}).encode()) for n in (1, 2)
    ]
    dataset, text = inferred([*messages, (b'{"day": "2026-11-25", "leg": 3}', None)])
    assert dataset.key == ("day", "leg")
    day, leg = dataset.column("day"), dataset.column("leg")
    assert (day.origin, day.path, day.logical_type) == (Origin.KEY, ("day",), LogicalType.DATE)
    assert (leg.origin, leg.path) == (Origin.VALUE, ())
    assert "a JSON object of this" in text
    dataset, _ = inferred([*messages, (b'{"day": "all", "leg": 3}', None)])
    assert dataset.column("day").logical_type is LogicalType.STRING, "what was deleted must be readable too"


def test_deletions_make_the_whole_kafka_key_the_key() -> None:
    dataset, _ = inferred([(b"a", b'{"n": 1}'), (b"a", b'{"n": 2}'), (b"b", None)])
    column = dataset.column("key")
    assert (dataset.key, column.origin, column.path) == (("key",), Origin.KEY, ())
    dataset, text = inferred([(None, b'{"id": 1}'), (None, b'{"id": 2}'), (b"\xff", None)])
    assert dataset.kind is Kind.APPEND
    assert "# Messages without value delete rows, but nothing says of which key" in text


@pytest.mark.parametrize("wrapped", [False, True])
def test_change_events_of_debezium(wrapped: bool) -> None:
    def wrap(document: dict[str, object]) -> bytes:
        return json.dumps({"schema": {"type": "struct"}, "payload": document} if wrapped else document).encode()

    events: list[dict[str, object]] = [
        {"op": "r", "before": None, "after": {"id": 1, "day": 20_000, "created_at": 1_700_000_000_000}, "source": {}},
        {"op": "u", "before": {"id": 1}, "after": {"id": 1, "day": None, "created_at": None}, "source": {}},
        {"op": "d", "before": {"id": 1}, "after": None, "source": {}},
    ]
    messages: list[Message] = [(wrap({"id": 1}), wrap(event)) for event in events]
    dataset, _ = inferred([*messages, (wrap({"id": 1}), None)])
    assert dataset.debezium
    assert dataset.key == ("id",)
    assert [(c.name, c.logical_type, c.coercion, c.required) for c in dataset.columns] == [
        ("id", LogicalType.INTEGER, None, True),
        ("day", LogicalType.DATE, Coercion.EPOCH_DAYS, False),
        ("created_at", LogicalType.TIMESTAMP, Coercion.EPOCH_MS, False),
    ]
    keyless, _ = inferred([(None, wrap(event)) for event in events])
    assert (keyless.debezium, keyless.kind) == (False, Kind.APPEND), "no key: a log of changes"


def test_a_schema_beside_the_row_is_left_out() -> None:
    dataset, _ = inferred([(None, b'{"schema": {"type": "struct"}, "payload": {"n": 1, "m": {"k": 2}}}')])
    assert [(c.name, c.path) for c in dataset.columns] == [("n", ("payload", "n")), ("m_k", ("payload", "m", "k"))]


def test_kinds_of_records_that_a_topic_mixes_are_told() -> None:
    kinds: list[dict[str, object]] = [{"m": {"type": "LEG"}, "leg": 1}, {"m": {"type": "CREW"}, "crew": 2}]
    messages: list[Message] = [(None, json.dumps(row).encode()) for row in kinds * 3]
    _, text = inferred(messages)
    assert "# Messages are of several kinds, told apart by m.type: LEG (3), CREW (3)." in text
    entry = '{property: where, value: {"m.type": "LEG"}}'
    assert entry in text
    said = f"customProperties:\n  - {entry}\nschema:"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trips.yaml"
        path.write_text(text.replace("schema:", said, 1), encoding="utf-8")
        chosen = read_contract(path).dataset
    assert chosen is not None
    assert chosen.where == (Filter("m.type", Origin.VALUE, ("m", "type"), ("LEG",)),)
    states: list[dict[str, object]] = [{"state": "on", "n": 1}, {"state": "off", "n": 1}]
    assert "several kinds" not in inferred([(None, json.dumps(row).encode()) for row in states * 3])[1]
    assert "several kinds" not in inferred(messages[:4])[1], "too few"


def test_a_format_and_what_was_seen_of_it_are_said() -> None:
    options = {"message_format": Format.AVRO, "framing": Framing.GLUE, "notes": ["Their first bytes say so."]}
    dataset, text = inferred([(b"1", b'{"n": 1}')], **options)
    assert (dataset.format, dataset.framing) == (Format.AVRO, Framing.GLUE)
    assert "# Their first bytes say so." in text


def test_addresses_of_people_are_not_served() -> None:
    column = one(["ana@example.com", "luis@example.co"])
    assert (column.classification, column.served, column.examples) == ("pii", False, ())
    assert not one([[{"mail": "ana@example.com"}]]).served
    assert not one(["+57 300 1234567"], "contactPhone").served


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("Número de vuelo", "numero_de_vuelo"),
        ("flightDate", "flight_date"),
        ("  a--b  ", "a_b"),
        ("2nd", "column_2nd"),
        ("航班", "column"),
        ("order", "order_value"),
        ("xmin", "xmin_value"),
        ("x" * 100, "x" * 50),
    ],
)
def test_column_names(source: str, name: str) -> None:
    assert column_name(source) == name
    assert column_name(source, [name]) == f"{name}_2"


@given(st.text(), st.lists(st.text(max_size=5), max_size=3))
def test_every_field_gets_a_valid_column_name(source: str, others: list[str]) -> None:
    taken = [column_name(other) for other in others]
    name = column_name(source, taken)
    assert column_name_problem(name) is None
    assert name not in taken


@pytest.mark.parametrize(
    "values", [[b"null"], [b"[1]", b"{"], [b"{}"], [b'{"a": null}'], [b"\xff"], [b'{"op": "d", "before": {"a": null}}']]
)
def test_a_sample_that_says_nothing(values: list[bytes]) -> None:
    with pytest.raises(InferenceError, match=r"of co\.trips"):
        infer_contract("trips", "co.trips", [(None, value) for value in values])


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), 1 << 64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
rows = st.dictionaries(st.text(max_size=8), st.one_of(scalars, st.lists(scalars, max_size=1)), max_size=6)


@settings(deadline=None, max_examples=100)
@given(st.lists(rows, min_size=1, max_size=4), st.booleans())
@example([{"false": 1, "NO": 2, "": None, "2": 3, ":": 4}], False)
def test_whatever_json_is_sampled_the_contract_loads(sample: list[dict[str, object]], keyed: bool) -> None:
    messages: list[Message] = []
    for row in [{**row, "always": 1} for row in sample]:
        key = str(next(iter(row.values()))).encode("utf-8", "surrogatepass") if keyed else None
        messages.append((key, json.dumps(row).encode()))
    try:
        dataset, _ = inferred(messages)
    except InferenceError:
        # only where no document is valid UTF-8 JSON: lone surrogates
        assert all("\\ud" in str(value) for _, value in messages)
        return
    assert "always" in [column.source for column in dataset.columns]


def test_a_linter_that_is_not_ours_accepts_what_is_inferred(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "at": 1_700_000_000_000, "day": "25/11/2026", "n": "1", "legs": [1], "o": {}, "m": {"a": {"b": 1}}},
        {"id": 2, "mail": "a@b.co"},
    ]
    messages: list[Message] = [(json.dumps({"id": row["id"]}).encode(), json.dumps(row).encode()) for row in rows]
    path = tmp_path / "trips.yaml"
    path.write_text(infer_contract("trips", "co.trips", messages, Format.AVRO, Framing.CONFLUENT), encoding="utf-8")
    linter = shutil.which("datacontract", path=str(Path(sys.executable).parent))
    assert linter, "datacontract-cli is one of the development tools"
    answer = subprocess.run([linter, "lint", str(path)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
