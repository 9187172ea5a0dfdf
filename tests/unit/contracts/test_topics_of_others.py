# ruff: noqa: E501 - one line a rule
"""What a contract says of a topic that nobody here controls: places, forms, personal data, which records, how they merge."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pista.contracts.contract import read_contract
from pista.contracts.dataset import Coercion, Column, Dataset, Filter, Format, Framing, Merge, Origin, Pii
from pista.contracts.document import Document, Place
from pista.contracts.loading import load_datasets
from pista.contracts.paths import parse_source, write_source
from pista.contracts.problems import ContractError

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: legs-id
name: legs
version: 1.0.0
status: active
servers:
  - {{server: kafka, type: kafka, host: localhost, format: {format}}}
customProperties: [{dataset}]
schema:
  - name: legs
    physicalName: gds.legs
    properties:
      - name: leg
        logicalType: string
        {key}
      - name: x
        {column}
"""
KEY = "primaryKey: true"
TIMESTAMP = "logicalType: timestamp, "
LOCAL = "logicalType: timestamp, logicalTypeOptions: {timezone: false, defaultTimezone: America/Bogota}, "


def contract(
    column: str = "logicalType: integer", dataset: str = "", key: str = KEY, message_format: str = "json"
) -> str:
    lines = "\n        ".join(line.strip() for line in column.split("; "))
    return CONTRACT.format(column=lines, dataset=dataset, key=key, format=message_format)


def custom(**properties: str) -> str:
    return ", ".join(f"{{property: {name}, value: {value}}}" for name, value in properties.items())


def column(kind: str = "integer", more: str = "", **properties: str) -> str:
    return f"logicalType: {kind}{more}; customProperties: [{custom(**properties)}]"


def load(folder: Path, text: str) -> Dataset:
    (folder / "legs.yaml").write_text(text, encoding="utf-8")
    return load_datasets(folder)["legs"]


def problem(folder: Path, text: str) -> str:
    """The one problem of the contract."""
    (folder / "legs.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_datasets(folder)
    assert len(caught.value.problems) == 1, str(caught.value)
    (only,) = caught.value.problems
    assert only.line > 1
    return f"{only.field}: {only.message}"


def x(folder: Path, text: str) -> Column:
    return load(folder, contract(text)).column("x")


ZONE = "; logicalTypeOptions: {timezone: false, defaultTimezone: America/Bogota}"
C = "schema[legs].properties[x].customProperties"
PX = "schema[legs].properties[x]"


@pytest.mark.parametrize(
    ("text", "source", "origin", "path"),
    [
        ("flight.legs[0].id", "flight.legs[0].id", Origin.VALUE, ("flight", "legs", 0, "id")),
        ("legs[0][1]", "legs[0][1]", Origin.VALUE, ("legs", 0, 1)),
        ("número", "número", Origin.VALUE, ()),
        ('"flight.no"', "flight.no", Origin.VALUE, ()),
        ('"flight.no".id', '"flight.no".id', Origin.VALUE, ("flight.no", "id")),
        ('a."b\\"c]"', 'a."b\\"c]"', Origin.VALUE, ("a", 'b"c]')),
        ('"key"', "key", Origin.VALUE, ()),
        ('"key".id', '"key".id', Origin.VALUE, ("key", "id")),
        ("value.id", "value.id", Origin.VALUE, ("value", "id")),
        ("key", "key", Origin.KEY, ()),
        ("key.a.b", "key.a.b", Origin.KEY, ("a", "b")),
        ('key."a.b"[2]', 'key."a.b"[2]', Origin.KEY, ("a.b", 2)),
        ("header.trace-id", "header.trace-id", Origin.HEADER, ("trace-id",)),
        ('header."x.trace"', 'header."x.trace"', Origin.HEADER, ("x.trace",)),
    ],
)
def test_a_source(tmp_path: Path, text: str, source: str, origin: Origin, path: tuple[str | int, ...]) -> None:
    read = x(tmp_path, column("string", source=f"'{text}'"))
    assert (read.source, read.origin, read.path) == (source, origin, path)


def test_a_physical_name_is_one_field_whatever_is_in_it(tmp_path: Path) -> None:
    read = x(tmp_path, "logicalType: integer; physicalName: a.b[0]")
    assert (read.source, read.origin, read.path) == ("a.b[0]", Origin.VALUE, ())


def test_what_the_broker_says_of_a_record(tmp_path: Path) -> None:
    kinds = {"timestamp": "timestamp", "topic": "string", "partition": "integer", "offset": "integer"}
    for name, kind in kinds.items():
        read = x(tmp_path, column(kind, source=f"record.{name}"))
        assert (read.origin, read.path, read.zone) == (Origin.RECORD, (name,), None)


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)


@given(st.lists(st.one_of(names, st.integers(0, 99)), max_size=4), names, st.sampled_from([Origin.VALUE, Origin.KEY]))
def test_every_path_can_be_written_and_read_again(rest: list[str | int], first: str, origin: Origin) -> None:
    steps = (first, *rest)
    source = parse_source(write_source(steps, origin), Place(Document(Path("x")), (), None))
    assert source is not None
    assert (source.origin, source.steps) == (origin, steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("''", "'' is no place in a record; write a path such as flight.legs[0].id"),
        ("3", "3 is no place in a record"),
        ("a..b", "'a..b' is no place"),
        ("'a.[0]'", "'a.[0]' is no place"),
        ("a b", "'a b' is no place"),
        ("'a[-1]'", "'a[-1]' is no place"),
        ("'a[*].b'", "'a[*].b' is no place"),
        ("a.", "'a.' is no place"),
        ("'a.\"\"'", "is no place"),
        ("'[0].a'", "a path into it starts with a field's name"),
        ("'key[0]'", "a path into a key starts with a field's name, such as key.id"),
        ("header", 'must be header.trace-id or header."trace.id"; a field of the value that has this name is "header"'),
        ("header.a.b", 'must be header.trace-id or header."trace.id"'),
        ("record", 'must be record.timestamp; a field of the value that has this name is "record"'),
        ("record.time", "a record has no time; did you mean timestamp?"),
    ],
)
def test_sources_that_lead_nowhere(tmp_path: Path, text: str, message: str) -> None:
    found = problem(tmp_path, contract(column("string", source=text)))
    assert found.startswith(f"{C}[source].value: ")
    assert message in found


def test_nothing_is_read_twice(tmp_path: Path) -> None:
    message = "is read by the column leg already"
    assert message in problem(tmp_path, contract(column("string", source="'\"leg\"'")))
    two = contract(column("string", source="'\"a\".b'")).replace(
        KEY, f"{KEY}\n        customProperties: [{custom(source='a.b')}]"
    )
    assert problem(tmp_path, two) == f"{C}[source].value: '\"a\".b' {message}"


def test_an_object_may_be_kept_whole_beside_its_fields(tmp_path: Path) -> None:
    text = contract(column("object", source="flight")).replace(
        KEY, f"{KEY}\n        customProperties: [{custom(source='flight.id')}]"
    )
    dataset = load(tmp_path, text)
    assert [c.sql_type for c in dataset.columns] == ["text", "jsonb"]


@pytest.mark.parametrize(
    ("text", "coercion", "time_format", "zone"),
    [
        (column("integer", coerce="text"), Coercion.TEXT, None, None),
        (column("boolean", coerce="text"), Coercion.TEXT, None, None),
        (column("number", source="header.x", coerce="text"), Coercion.TEXT, None, None),
        (column("timestamp", coerce="epoch_ms"), Coercion.EPOCH_MS, None, None),
        (column("timestamp", source="header.x", coerce="epoch_ns"), Coercion.EPOCH_NS, None, None),
        (column("date", coerce="epoch_days"), Coercion.EPOCH_DAYS, None, None),
        (column("date", format="'%d/%m/%Y'"), None, "%d/%m/%Y", None),
        (column("date", format="'%d%b%y'"), None, "%d%b%y", None),
        (column("date", format="'%Y%j'"), None, "%Y%j", None),
        (column("timestamp", format="'%d/%m/%Y %H:%M:%S.%f %z'"), None, "%d/%m/%Y %H:%M:%S.%f %z", None),
        (column("timestamp", ZONE, format="'%m/%d/%Y %I:%M %p'"), None, "%m/%d/%Y %I:%M %p", "America/Bogota"),
    ],
)
def test_a_form_of_values(
    tmp_path: Path, text: str, coercion: Coercion | None, time_format: str | None, zone: str | None
) -> None:
    read = x(tmp_path, text)
    assert (read.coercion, read.time_format, read.zone) == (coercion, time_format, zone)


COLUMNS = {
    "source and physicalName": (column("string", "; physicalName: y", source="a.b"), f"{PX}.physicalName: the custom property source says already"),
    "object in a header": (column("object", source="header.x"), f"{PX}.logicalType: a header is text and cannot be object; must be string"),
    "array in a whole key": (column("array", source="key"), f"{PX}.logicalType: a key as a whole is text and cannot be array; must be string, or key.NAME"),
    "number in a header": (column("integer", source="header.x"), f"{PX}.logicalType: a header is text; add the custom property coerce: text to read it as integer"),
    "broker's time as text": (column("string", source="record.timestamp"), f"{PX}.logicalType: record.timestamp is timestamp, not string"),
    "broker's time coerced": (column("timestamp", source="record.timestamp", coerce="epoch_ms"), f"{C}[coerce].value: record.timestamp comes from the broker and needs no coerce"),
    "broker's time with zone": (column("timestamp", ZONE, source="record.timestamp"), f"{PX}.logicalTypeOptions.timezone: the values count from 1970 in UTC"),
    "offset as key": (column("integer", "; primaryKey: true; primaryKeyPosition: 2", source="record.offset").replace("PLACE", ""), f"{PX}.primaryKey: record.offset is no key"),
    "unknown coercion": (column(coerce="epoch_min"), f"{C}[coerce].value: 'epoch_min': must be text, epoch_s"),
    "coercion as mapping": (column("date", coerce="{format: a}"), f"{C}[coerce].value: a mapping: must be text, epoch_s, epoch_ms, epoch_us, epoch_ns or epoch_days; a date format is"),
    "text to text": (column("string", coerce="text"), f"{C}[coerce].value: text makes integer, number or boolean; the column is string"),
    "epoch to date": (column("date", coerce="epoch_ms"), f"{C}[coerce].value: epoch_ms makes timestamp; the column is date"),
    "days to timestamp": (column("timestamp", coerce="epoch_days"), f"{C}[coerce].value: epoch_days makes date; the column is timestamp"),
    "epoch with zone": (column("timestamp", ZONE, coerce="epoch_s"), f"{PX}.logicalTypeOptions.timezone: the values count from 1970 in UTC and have no zone"),
    "coercion and format": (column("date", coerce="epoch_days", format="'%d/%m/%Y'"), f"{C}[format].value: a value is either text of this format or what coerce says"),
    "format of a number": (column(format="'%d/%m/%Y'"), f"{C}[format].value: only a timestamp or a date has a format; the column is integer"),
    "format of the JDK": (column("date", format="dd/MM/yyyy"), f"{C}[format].value: 'dd/MM/yyyy': must hold one year (%Y or %y)"),
    "format no text": (column("date", format="7"), f"{C}[format].value: 7: must be a strptime format, such as %d/%m/%Y"),
    "unknown directive": (column("date", format="'%d/%m/%Y %Z'"), f"{C}[format].value: '%d/%m/%Y %Z': %Z is not supported; valid: %Y %y"),
    "directive cut off": (column("date", format="'%d/%m/%Y %'"), f"{C}[format].value: '%d/%m/%Y %': % is not supported"),
    "directive twice": (column("date", format="'%d/%m/%Y %d'"), f"{C}[format].value: '%d/%m/%Y %d': %d stands twice"),
    "no day": (column("date", format="'%m/%Y'"), f"{C}[format].value: '%m/%Y': must hold one year"),
    "date with time": (column("date", format="'%d/%m/%Y %H'"), f"{C}[format].value: '%d/%m/%Y %H': a date has no time of day; remove %H"),
    "timestamp without hour": (column("timestamp", ZONE, format="'%d/%m/%Y'"), f"{C}[format].value: '%d/%m/%Y': a timestamp needs one hour of the day"),
    "afternoon or not": (column("timestamp", ZONE, format="'%d/%m/%Y %I:%M'"), f"{C}[format].value: '%d/%m/%Y %I:%M': a timestamp needs one hour of the day"),
    "seconds without minutes": (column("timestamp", ZONE, format="'%d/%m/%Y %H:%S'"), f"{C}[format].value: '%d/%m/%Y %H:%S': seconds (%S) need minutes"),
    "parts that run together": (column("date", format="'%B%d%y%%%%%'"), f"{C}[format].value: '%B%d%y%%%%%': % is not supported"),
    "format without zone": (column("timestamp", format="'%d/%m/%Y %H:%M'"), f"{C}[format].value: '%d/%m/%Y %H:%M' has no %z, so its values carry no zone; add logicalTypeOptions: {{timezone: false"),
    "format with offset and zone": (column("timestamp", ZONE, format="'%d/%m/%Y %H:%M %z'"), f"{PX}.logicalTypeOptions.timezone: the format reads an offset (%z)"),
    "unknown pii": (column("string", pii="mask"), f"{C}[pii].value: 'mask': must be drop or hash"),
    "hash of a number": (column(pii="hash"), f"{PX}.logicalType: pii: hash stores text, so the column must be string, not integer"),
    "hash with enum": (column("string", "; enum: [{value: a}]", pii="hash"), f"{PX}.enum: would publish values that pii: hash is to hide"),
    "hash with examples": (column("string", "; examples: [a]", pii="hash"), f"{PX}.examples: would publish values"),
    "dropped and served": (column("string", "; classification: public", pii="drop"), f"{PX}.classification: 'public': nothing of a dropped value is stored"),
    "dropped with rules": (column("string", "; quality: [{metric: nullValues, mustBe: 0}]", pii="drop"), f"{PX}.quality[0]: the value is dropped"),
    "dropped key": (column("string", "; primaryKey: true; primaryKeyPosition: 2", pii="drop"), f"{PX}.primaryKey: a dropped value cannot be part of the key"),
    "object as key": (column("object", "; primaryKey: true; primaryKeyPosition: 2"), f"{PX}.primaryKey: an object cannot be part of the key"),
    "object with enum": ("logicalType: object; enum: [{value: a}]", f"{PX}.enum: not supported for object"),
    "object with options": ("logicalType: object; logicalTypeOptions: {minProperties: 1}", f"{PX}.logicalTypeOptions.minProperties: not supported for object; it has no options"),
    "rule within": ("logicalType: object; properties: [{name: a, logicalType: string, quality: [{metric: nullValues, mustBe: 0}]}]", f"{PX}.properties[a].quality: nothing within an object is held to rules"),
    "key within": ("logicalType: array; items: {logicalType: object, properties: [{name: a, logicalType: string, primaryKey: true}]}", f"{PX}.items.properties[a].primaryKey: nothing within an array"),
    "pii within": ("logicalType: object; properties: [{name: a, logicalType: string, classification: pii}]", f"{PX}.properties[a].classification: 'pii': the object is internal and served whole; classify it pii"),
    "property within": ("logicalType: object; properties: [{name: a, logicalType: string, customProperties: [{property: source, value: b}]}]", f"{PX}.properties[a].customProperties[source]: nobody reads a custom property here"),
    "not supported yet": ("logicalType: time", f"{PX}.logicalType: time is not supported yet; must be string"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), COLUMNS.values(), ids=COLUMNS)
def test_columns_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    text = contract(text)
    if "primaryKeyPosition: 2" in text:
        text = text.replace(KEY, f"{KEY}\n        primaryKeyPosition: 1", 1)
    assert message in problem(tmp_path, text)


def test_the_insides_of_an_object_are_documentation(tmp_path: Path) -> None:
    text = "logicalType: object; properties: [{name: Not snake, logicalType: map, required: true}, {name: b, logicalType: array, items: {logicalType: string}}]"
    dataset = load(tmp_path, contract(text.replace("map", "object")))
    assert [c.name for c in dataset.columns] == ["leg", "x"]


def test_a_dropped_value_is_no_column(tmp_path: Path) -> None:
    dataset = load(tmp_path, contract(column("integer", pii="drop")))
    assert [c.name for c in dataset.columns] == ["leg"]
    (dropped,) = dataset.dropped
    assert (dropped.name, dropped.pii, dropped.served, dropped.classification) == ("x", Pii.DROP, False, "pii")
    rule = contract(column("integer", pii="drop")) + (
        "    quality: [{name: u, metric: duplicateValues, arguments: {properties: [x]}, mustBe: 0}]\n"
    )
    assert "'x' is no column" in problem(tmp_path, rule)


def test_a_hash_is_served_only_where_the_contract_says_so(tmp_path: Path) -> None:
    read = x(tmp_path, column("string", pii="hash"))
    assert (read.pii, read.served, read.classification) == (Pii.HASH, False, "pii")
    key = contract(key=f"primaryKey: true\n        customProperties: [{custom(pii='hash')}]")
    assert "with classification: internal its hash is served, and can" in problem(tmp_path, key)
    served = key.replace(KEY, f"{KEY}\n        classification: internal")
    assert load(tmp_path, served).column("leg").served


def test_personal_values_are_not_stored_by_another_column(tmp_path: Path) -> None:
    said = custom(source="'a.b[0].c'", pii="hash")
    hashed = f"{KEY}\n        classification: internal\n        customProperties: [{said}]"
    text = contract(column("object", source="a.b"), key=hashed)
    assert problem(tmp_path, text).startswith(f"{PX}: stores a.b whole, and with it a.b[0].c, which pii: hash of leg")
    text = contract(key=hashed, dataset=custom(where="{'a.b[0].c': 1}"))
    assert problem(tmp_path, text) == (
        "customProperties[where].value: a.b[0].c: pii: hash of leg leaves nothing to compare with"
    )


def test_a_mart_has_no_messages(tmp_path: Path) -> None:
    text = contract(column("string", source="a.b", coerce="text", pii="drop"))
    text = text.replace("    physicalName: gds.legs\n", "").replace(
        "servers:\n  - {server: kafka, type: kafka, host: localhost, format: json}\n", ""
    )
    text = text.replace(
        "customProperties: []",
        "customProperties: [{property: inputs, value: {a: x}}, {property: start, value: latest}]",
    )
    (tmp_path / "legs.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "legs.sql").write_text("SELECT x AS leg FROM a")
    found = [str(p) for p in read_contract(tmp_path / "legs.yaml").document.problems]
    assert sum("only a source has fields of messages" in line for line in found) == 3
    assert any("start belongs to sources" in line for line in found)


def test_a_topic_of_others_is_resolved(tmp_path: Path) -> None:
    said = {
        "framing": "confluent",
        "where": "{type: FLIGHT, header.from: [amadeus, sabre], key.n: [1, 2.5, null, true]}",
        "start": "'2026-01-31T12:00:00-05:00'",
        "merge": "patch",
        "quarantine_share": "0.05",
        "drain_group": "gds",
    }
    dataset = load(tmp_path, contract(dataset=custom(**said), message_format="avro"))
    assert (dataset.format, dataset.framing, dataset.merge) == (Format.AVRO, Framing.CONFLUENT, Merge.PATCH)
    assert dataset.where == (
        Filter("type", Origin.VALUE, (), ("FLIGHT",)),
        Filter("header.from", Origin.HEADER, ("from",), ("amadeus", "sabre")),
        Filter("key.n", Origin.KEY, ("n",), (1, 2.5, None, True)),
    )
    assert dataset.start == datetime(2026, 1, 31, 17, tzinfo=UTC)
    assert (dataset.quarantine_share, dataset.drain_group, dataset.parallelism) == (0.05, "gds", 1)
    assert dataset.keep_raw


def test_what_a_contract_does_not_say(tmp_path: Path) -> None:
    dataset = load(tmp_path, contract())
    assert (dataset.format, dataset.framing, dataset.debezium, dataset.where) == (Format.JSON, Framing.NONE, False, ())
    assert (dataset.start, dataset.merge, dataset.keep_raw) == ("earliest", Merge.REPLACE, True)
    assert (dataset.quarantine_share, dataset.drain_group, dataset.parallelism) == (0.5, "default", 1)
    assert load(tmp_path, contract(dataset=custom(raw="false"))).keep_raw is False
    assert load(tmp_path, contract(dataset=custom(envelope="debezium", where="{leg: [a, b], key.x: c}"))).debezium
    parallel = load(tmp_path, contract(dataset=custom(parallelism="2")))
    assert (parallel.drain_group, parallel.parallelism) == ("legs", 2)


def test_nobody_drains_with_a_parallel_dataset(tmp_path: Path) -> None:
    (tmp_path / "legs.yaml").write_text(contract(dataset=custom(parallelism="2")), encoding="utf-8")
    other = contract(dataset=custom(drain_group="legs")).replace("legs-id", "x").replace("name: legs", "name: other")
    (tmp_path / "other.yaml").write_text(other, encoding="utf-8")
    with pytest.raises(ContractError, match=r"'legs' are the drains of that dataset alone.* a parallelism of 2"):
        load_datasets(tmp_path)


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        (("json", {}), ("avro", {"framing": "glue"}), "servers: the messages of gds.legs are avro with framing glue; by legs they are json with framing none"),
        (("json", {"framing": "glue"}), ("json", {}), "servers: the messages of gds.legs are json with framing none"),
        (("json", {"managed": "true", "partitions": "2"}), ("json", {"parallelism": "3"}), "customProperties[parallelism].value: 3 drains would share the 2 partitions that legs makes of gds.legs"),
    ],
)  # fmt: skip
def test_contracts_of_one_topic_agree(tmp_path: Path, mine: Any, theirs: Any, message: str) -> None:
    (tmp_path / "legs.yaml").write_text(contract(dataset=custom(**mine[1]), message_format=mine[0]), encoding="utf-8")
    other = contract(dataset=custom(**theirs[1]), message_format=theirs[0])
    other = other.replace("legs-id", "other-id").replace("name: legs", "name: other")
    (tmp_path / "other.yaml").write_text(other, encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_datasets(tmp_path)
    (only,) = caught.value.problems
    assert only.file.name == "other.yaml"
    assert f"{only.field}: {only.message}".startswith(message)


D = "customProperties"
TOPICS = {
    "unknown framing": (custom(framing="apicurio"), "json", KEY, f"{D}[framing].value: 'apicurio': must be none, confluent or glue"),
    "protobuf without framing": (custom(framing="none"), "protobuf", KEY, f"{D}[framing].value: protobuf without framing says nothing of its schema, and a schema within the contract is not supported"),
    "unknown envelope": (custom(envelope="maxwell"), "json", KEY, f"{D}[envelope].value: 'maxwell': must be debezium, or not be there"),
    "debezium without key": (custom(envelope="debezium"), "json", "required: true", f"{D}[envelope].value: a change event of Debezium says what a table's row has become, so it needs a key"),
    "patched debezium": (custom(merge="patch", envelope="debezium"), "json", KEY, f"{D}[merge].value: a change event of Debezium says what a table's row has become, whole; must be replace"),
    "unknown merge": (custom(merge="append"), "json", KEY, f"{D}[merge].value: 'append': must be replace or patch"),
    "merge without key": (custom(merge="patch"), "json", "required: true", f"{D}[merge].value: only an upsert source has rows that change"),
    "patch without raw": (custom(merge="patch", raw="false"), "json", KEY, f"{D}[raw].value: merge: patch needs the events of a key again for a rebuild"),
    "patch of a compacted topic": (custom(merge="patch", managed="true", compacted="true"), "json", KEY, f"{D}[compacted].value: compaction removes the older events"),
    "raw true": (custom(raw="true"), "json", KEY, f"{D}[raw].value: true: must be false, or not be there"),
    "where no mapping": (custom(where="[a]"), "json", KEY, f"{D}[where].value: ['a']: must be a mapping of source to value"),
    "where nothing": (custom(where="{}"), "json", KEY, f"{D}[where].value: a mapping: must be a mapping of source"),
    "where nowhere": (custom(where="{a..b: 1}"), "json", KEY, f"{D}[where].value.a..b: 'a..b' is no place in a record"),
    "where empty": (custom(where="{a: []}"), "json", KEY, f"{D}[where].value.a: an empty list accepts no record"),
    "where an object": (custom(where="{a: [1, {b: 2}]}"), "json", KEY, f"{D}[where].value.a[1]: a mapping: must be text, a number"),
    "where not a number": (custom(where="{a: .nan}"), "json", KEY, f"{D}[where].value.a: nan: must be text, a number"),
    "where a header is a number": (custom(where="{header.a: 1}"), "json", KEY, f"{D}[where].value.header.a: 1: header.a is text; put the value in quotes"),
    "where a record": (custom(where="{record.offset: 1}"), "json", KEY, f"{D}[where].value.record.offset: record.offset says where a record is"),
    "where twice": (custom(where="{a: 1, '\"a\"': 2}"), "json", KEY, f"{D}[where].value.\"a\": \"a\" stands twice; write a list of values"),
    "where a change can change": (custom(envelope="debezium", where="{state: a}"), "json", KEY, f"{D}[where].value: state is no key column: a change could take a row out of the filter, and nothing would delete it; with envelope: debezium ask for leg, key.NAME or header.NAME"),
    "start without offset": (custom(start="2026-01-31T12:00:00"), "json", KEY, f"{D}[start].value: '2026-01-31T12:00:00': must be earliest or latest, or a time with offset"),
    "start unknown": (custom(start="beginning"), "json", KEY, f"{D}[start].value: 'beginning': must be earliest or latest"),
    "share above one": (custom(quarantine_share="5"), "json", KEY, f"{D}[quarantine_share].value: 5: must be a share of a batch from 0 (none) to 1 (all)"),
    "share no number": (custom(quarantine_share="true"), "json", KEY, f"{D}[quarantine_share].value: true: must be a share"),
    "group of a parallel dataset": (custom(drain_group="a", parallelism="2"), "json", KEY, f"{D}[drain_group].value: with a parallelism of 2 the dataset has drains of its own"),
    "group": (custom(drain_group="Group A"), "json", KEY, f"{D}[drain_group].value: 'Group A': a group's name is snake_case"),
    "no drain": (custom(parallelism="0"), "json", KEY, f"{D}[parallelism].value: 0: must be a whole number from 1 to 64"),
    "more drains than partitions": (custom(managed="true", partitions="2", parallelism="3"), "json", KEY, f"{D}[parallelism].value: 3 drains would share 2 partitions"),
}  # fmt: skip


@pytest.mark.parametrize(("dataset", "message_format", "key", "message"), TOPICS.values(), ids=TOPICS)
def test_topics_that_cannot_be(tmp_path: Path, dataset: str, message_format: str, key: str, message: str) -> None:
    text = contract(dataset=dataset, message_format=message_format, key=key)
    assert message in problem(tmp_path, text)


def test_servers_agree_on_the_format(tmp_path: Path) -> None:
    line = "  - {server: kafka, type: kafka, host: localhost, format: json}\n"
    text = contract().replace(line, line + "  - {server: more, type: kafka, host: more, format: avro}\n")
    assert "servers[1].format: 'avro': the first server says otherwise" in problem(tmp_path, text)


def test_retention_is_that_of_raw(tmp_path: Path) -> None:
    text = contract(dataset=custom(raw="false")) + "slaProperties: [{property: retention, value: 1, unit: d}]\n"
    assert "retention is that of raw records; raw: false keeps none" in problem(tmp_path, text)
