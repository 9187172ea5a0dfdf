"""What is inferred from messages, and that it always loads."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pista.contracts.contract import read_contract
from pista.contracts.dataset import Column, Dataset, Kind, LogicalType
from pista.contracts.inference import InferenceError, column_name, infer_contract
from pista.contracts.names import column_name_problem

Message = tuple[bytes | None, bytes | None]


def inferred(messages: list[Message]) -> tuple[Dataset, str]:
    text = infer_contract("trips", "co.trips", messages)
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
        (["12", "13"], LogicalType.STRING, True),
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


def test_what_is_not_supported_is_left_out_and_said() -> None:
    dataset, text = inferred(
        [(None, b'{"a": {"b": 1}, "c": [1], "d": null, "e": 1, "f": 1}'), (None, b'{"e": 2, "f": "x"}')]
    )
    assert [column.name for column in dataset.columns] == ["e"]
    assert text.count("is left out") == 4


def test_addresses_of_people_are_not_served() -> None:
    column = one(["ana@example.com", "luis@example.co"])
    assert (column.classification, column.served, column.examples) == ("pii", False, ())


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
    "values", [[b"null"], [b"[1]", b"{"], [b"{}"], [b'{"a": null}'], [b'{"a": {"b": 1}}'], [b"\xff"]]
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
