# ruff: noqa: E501 - one line a rule
"""Every rule of the contracts has an example that breaks it, and its message names the very place."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pista.contracts.loading import load_datasets
from pista.contracts.problems import ContractError

SOURCE = """\
apiVersion: v3.2.0
kind: DataContract
id: legs-id
name: legs
version: 1.0.0
status: active
domain: operations
tags: [aviation]
team: {name: data}
support:
  - {channel: data}
servers:
  - {server: kafka, type: kafka, host: localhost, format: json}
slaProperties:
  - {property: freshness, value: 5, unit: m}
  - {property: retention, value: 2, unit: days}
customProperties:
  - {property: ordering, value: seen_at}
  - {property: managed, value: true}
  - {property: partitions, value: 2}
schema:
  - name: legs
    physicalName: nyc.legs
    properties:
      - name: leg
        logicalType: string
        primaryKey: true
      - name: day
        logicalType: date
        required: true
      - name: seen_at
        logicalType: timestamp
        required: true
      - name: delay
        logicalType: integer
        logicalTypeOptions: {format: i16, minimum: -60, maximum: 600}
        customProperties: [{property: unit, value: min}]
        quality:
          - {metric: nullValues, mustBeLessThan: 5, unit: percent, severity: warning}
      - name: state
        logicalType: string
        logicalTypeOptions: {maxLength: 9, pattern: '[a-z]+'}
        enum:
          - {value: left}
          - {value: "NO"}
      - name: distance
        physicalName: Distancia aérea
        logicalType: number
    quality:
      - {name: has_rows, metric: rowCount, mustBeGreaterThan: 0}
      - name: days_are_known
        type: sql
        query: SELECT count(*) FROM {table} WHERE day IS NULL
        mustBe: 0
"""
MART = """\
apiVersion: v3.2.0
kind: DataContract
id: daily-id
name: daily
version: 1.0.0
status: active
customProperties:
  - {property: inputs, value: {legs: day}}
  - {property: cooldown, value: PT30S}
schema:
  - name: daily
    properties:
      - name: day
        logicalType: date
        primaryKey: true
        partitioned: true
      - name: legs
        logicalType: integer
"""
TRANSFORM = "SELECT day, count(*) AS legs FROM legs GROUP BY day\n"


@dataclass(frozen=True)
class Broken:
    """One edit of a good file, and the one problem that it makes."""

    old: str
    new: str
    field: str
    message: str
    at: str = ""  # text of the line that is named; default: the first line of ``new``


P = "schema[legs].properties"
SOURCES = {
    # the standard
    "misspelt field": Broken("primaryKey: true", "primarykey: true", f"{P}[leg].primarykey", "here true; did you mean primaryKey?"),
    "unknown top field": Broken("domain: operations", "owner: me", "owner", "unknown field, here 'me'; valid: apiVersion"),
    "unknown part of the description": Broken("domain: operations", "description: {purpos: x}", "description.purpos", "unknown field, here 'x'; did you mean purpose?"),
    "missing field": Broken("id: legs-id\n", "", "", "the field id is missing", "apiVersion"),
    "number for text": Broken("version: 1.0.0", "version: 1.0", "version", "must be text, not 1.0; put it in quotes"),
    "text for truth": Broken("        required: true\n      - name: delay", "        required: yes\n      - name: delay", f"{P}[seen_at].required", "must be true or false, not 'yes'"),
    "unknown type": Broken("logicalType: number", "logicalType: numbre", f"{P}[distance].logicalType", "'numbre': did you mean number?"),
    "server without host": Broken("host: localhost, ", "", "servers[0]", "the field host is missing", "type: kafka"),
    "option of another type": Broken("maxLength: 9", "minimum: 9", f"{P}[state].logicalTypeOptions.minimum", "valid: format, maxLength, minLength, pattern", "minimum: 9"),
    "enum without value": Broken("- {value: left}", "- {valu: x, value: left}", f"{P}[state].enum[0].valu", "did you mean value?"),
    "no operator": Broken("mustBeGreaterThan: 0", "description: x", "schema[legs].quality[has_rows]", "and has none", "has_rows"),
    "two operators": Broken("mustBeGreaterThan: 0", "mustBeGreaterThan: 0, mustBe: 3", "schema[legs].quality[has_rows]", "not mustBe and mustBeGreaterThan", "has_rows"),
    "operator not a number": Broken("mustBeGreaterThan: 0", "mustBeGreaterThan: few", "schema[legs].quality[has_rows].mustBeGreaterThan", "must be a number, not 'few'", "few"),
    "team misspelt": Broken("team: {name: data}", "team: {nme: data}", "team.nme", "did you mean name?"),
    # the file
    "old standard": Broken("apiVersion: v3.2.0", "apiVersion: v2.2.2", "apiVersion", "must be v3.2.0"),
    "other name": Broken("name: legs\nversion", "name: leg\nversion", "name", "'leg': must be legs, as the file is named legs.yaml", "name: leg\nversion"),
    "version not semantic": Broken("version: 1.0.0", "version: '1.0'", "version", "must be MAJOR.MINOR.PATCH"),
    "unknown status": Broken("status: active", "status: live", "status", "'live': must be proposed, draft, active, deprecated or retired"),
    "bad domain": Broken("domain: operations", "domain: Flight Ops", "domain", "must be snake_case"),
    "bad tag": Broken("tags: [aviation]", "tags: [a b]", "tags[0]", "'a b': a tag has"),
    "old team": Broken("team: {name: data}", "team: [{username: me}]", "team", "the standard's old form"),
    "neither source nor mart": Broken("  - {server: kafka, type: kafka, host: localhost, format: json}", "  - {server: files, type: local, path: ., format: json}", "servers", "this dataset has neither", "servers:"),
    "other element name": Broken("  - name: legs\n", "  - name: flights\n", "schema[flights].name", "'flights': must be legs"),
    "two elements": Broken("schema:\n", "schema:\n  - name: more\n", "schema", "has 2 elements"),
    "misplaced custom property": Broken("team: {name: data}", "team: {name: data, customProperties: [{property: unit, value: a}]}", "team.customProperties[unit]", "nobody reads"),
    "unknown custom property": Broken("property: ordering", "property: orderin", "customProperties[orderin].property", "did you mean ordering?"),
    "custom property twice": Broken("{property: partitions, value: 2}", "{property: managed, value: true}", "customProperties[managed].property", "stands twice", "property: managed, value: true}\nschema"),
    # columns
    "column not snake_case": Broken("- name: delay", "- name: Delay", f"{P}[Delay].name", "'Delay': a column's name is snake_case"),
    "column starts with underscore": Broken("- name: delay", "- name: _delay", f"{P}[_delay].name", "a letter first"),
    "column too long": Broken("- name: delay", f"- name: {'d' * 61}", f"{P}[{'d' * 61}].name", "at most 60 characters, this one has 61"),
    "system column": Broken("- name: delay", "- name: xmin", f"{P}[xmin].name", "every PostgreSQL table"),
    "query parameter": Broken("- name: delay", "- name: order", f"{P}[order].name", "the API's query parameters"),
    "column twice": Broken("- name: delay", "- name: day", f"{P}[day].name", "'day' stands twice", "- name: day\n        logicalType: integer"),
    "field twice": Broken("Distancia aérea", "delay", f"{P}[distance].physicalName", "'delay' is read by the column delay already", "physicalName: delay"),
    "no type": Broken("        logicalType: number\n", "", f"{P}[distance]", "the field logicalType is missing", "- name: distance"),
    "option not supported": Broken("minimum: -60", "exclusiveMinimum: -60", f"{P}[delay].logicalTypeOptions.exclusiveMinimum", "not supported for integer; valid: format, minimum, maximum", "exclusiveMinimum"),
    "boolean with options": Broken("logicalType: number", "logicalType: boolean\n        logicalTypeOptions: {format: x}", f"{P}[distance].logicalTypeOptions.format", "it has no options", "{format: x}"),
    "format not supported": Broken("format: i16", "format: u8", f"{P}[delay].logicalTypeOptions.format", "'u8' is not supported; must be i16, i32 or i64", "format: u8"),
    "bound out of type": Broken("maximum: 600", "maximum: 40000", f"{P}[delay].logicalTypeOptions.maximum", "40000: must be a whole number that fits smallint", "40000"),
    "bound not whole": Broken("maximum: 600", "maximum: 6.5", f"{P}[delay].logicalTypeOptions.maximum", "must be a whole number", "6.5"),
    "bounds crossed": Broken("maximum: 600", "maximum: -61", f"{P}[delay].logicalTypeOptions.maximum", "-61 is less than the minimum, -60", "-61"),
    "lengths crossed": Broken("maxLength: 9", "maxLength: 9, minLength: 10", f"{P}[state].logicalTypeOptions.maxLength", "9 is less than the minLength, 10", "minLength"),
    "bound not finite": Broken("logicalType: number", "logicalType: number\n        logicalTypeOptions: {maximum: .inf}", f"{P}[distance].logicalTypeOptions.maximum", "must be a finite number", ".inf"),
    "bound no date": Broken("        logicalType: date\n", "        logicalType: date\n        logicalTypeOptions: {minimum: 2013-02-30}\n", f"{P}[day].logicalTypeOptions.minimum", "'2013-02-30': must be a date", "2013-02-30"),
    "bound without offset": Broken("logicalType: timestamp", "logicalType: timestamp\n        logicalTypeOptions: {minimum: 2013-01-01T00:00:00}", f"{P}[seen_at].logicalTypeOptions.minimum", "must be a timestamp with offset", "T00:00:00"),
    "no zone": Broken("logicalType: timestamp", "logicalType: timestamp\n        logicalTypeOptions: {timezone: false}", f"{P}[seen_at].logicalTypeOptions.timezone", "add defaultTimezone", "timezone: false"),
    "unknown zone": Broken("logicalType: timestamp", "logicalType: timestamp\n        logicalTypeOptions: {timezone: false, defaultTimezone: America/Bogotá}", f"{P}[seen_at].logicalTypeOptions.defaultTimezone", "did you mean America/Bogota?", "Bogotá"),
    "zone that is not used": Broken("logicalType: timestamp", "logicalType: timestamp\n        logicalTypeOptions: {defaultTimezone: UTC}", f"{P}[seen_at].logicalTypeOptions.defaultTimezone", "add timezone: false", "UTC"),
    "pattern broken": Broken("'[a-z]+'", "'[a-z'", f"{P}[state].logicalTypeOptions.pattern", "no regular expression", "'[a-z'"),
    "pattern Python only": Broken("'[a-z]+'", "'(?=a)a'", f"{P}[state].logicalTypeOptions.pattern", "that Python and RE2 both read", "(?=a)"),
    "pattern RE2 only": Broken("'[a-z]+'", r"'\pL+'", f"{P}[state].logicalTypeOptions.pattern", "bad escape", r"\pL"),
    "pattern read otherwise": Broken("'[a-z]+'", "'[[:alpha:]]+'", f"{P}[state].logicalTypeOptions.pattern", "nested set", "alpha"),
    "pattern with open repeat": Broken("'[a-z]+'", "'[a-z]{,3}'", f"{P}[state].logicalTypeOptions.pattern", "write {0,n}", "{,3}"),
    "enum of another type": Broken("{value: left}", "{value: 3}", f"{P}[state].enum[0].value", "3: must be text; put it in quotes", "{value: 3}"),
    "enum twice": Broken("{value: left}", '{value: "NO"}', f"{P}[state].enum", "holds the same element twice", "enum:"),
    "enum value twice": Broken("{value: left}", '{value: "NO", label: x}', f"{P}[state].enum[1].value", "'NO' stands twice", '- {value: "NO"}\n      - name'),
    "enum with null": Broken("{value: left}", "{value: null}", f"{P}[state].enum[0].value", "nothing is no value", "null}"),
    "enum of dates": Broken("        logicalType: date\n", "        logicalType: date\n        enum: [{value: x}]\n", f"{P}[day].enum", "not supported for date", "{value: x}"),
    "classification": Broken("logicalType: number", "logicalType: number\n        classification: secret", f"{P}[distance].classification", "'secret': must be public, internal, confidential, restricted or pii", "secret"),
    "unique without key": Broken("logicalType: number", "logicalType: number\n        unique: true", f"{P}[distance].unique", "duplicateValues, mustBe 0", "unique"),
    "empty unit": Broken("value: min}", "value: ''}", f"{P}[delay].customProperties[unit].value", "must be a UCUM code", "unit, value"),
    # sources
    "key not served": Broken("primaryKey: true", "primaryKey: true\n        classification: pii", f"{P}[leg].classification", "a pii column is not served and cannot be part of the key", "pii"),
    "ordering not served": Broken("- name: delay", "  classification: pii\n      - name: delay", f"{P}[seen_at].classification", "cannot be the ordering", "pii"),
    "key position without key": Broken("logicalType: number", "logicalType: number\n        primaryKeyPosition: 2", f"{P}[distance].primaryKeyPosition", "only a column with primaryKey", "Position"),
    "key position of one": Broken("primaryKey: true", "primaryKey: true\n        primaryKeyPosition: 2", f"{P}[leg].primaryKeyPosition", "2: the only key column has position 1", "Position: 2"),
    "key position missing": Broken("logicalType: number", "logicalType: number\n        primaryKey: true", f"{P}[leg].primaryKeyPosition", "nothing: the 2 key columns have the positions 1 to 2", "- name: leg\n"),
    "ordering unknown": Broken("value: seen_at", "value: seen", "customProperties[ordering].value", "'seen' is no column; did you mean seen_at?", "value: seen}"),
    "ordering of text": Broken("value: seen_at", "value: leg", "customProperties[ordering].value", "the column is string; must be integer", "value: leg}"),
    "ordering may be null": Broken("value: seen_at", "value: delay", "customProperties[ordering].value", "needs required: true", "value: delay}"),
    "ordering without key": Broken("        primaryKey: true\n", "", "customProperties[ordering].value", "only an upsert source", "ordering"),
    "managed false": Broken("managed, value: true", "managed, value: false", "customProperties[managed].value", "false: must be true, or not be there", "managed"),
    "partitions unmanaged": Broken("  - {property: managed, value: true}\n", "", "customProperties[partitions].value", "add managed: true", "partitions"),
    "partitions none": Broken("value: 2}", "value: 0}", "customProperties[partitions].value", "0: must be a whole number from 1 to 1000", "partitions"),
    "mart property": Broken("{property: ordering, value: seen_at}", "{property: cooldown, value: PT1S}", "customProperties[cooldown].value", "belongs to marts", "cooldown"),
    "sliced source": Broken("logicalType: number", "logicalType: number\n        partitioned: true", f"{P}[distance].partitioned", "only a mart has slices", "partitioned"),
    "no topic": Broken("    physicalName: nyc.legs\n", "", "schema[legs]", "physicalName is missing: it names the topic", "  - name: legs"),
    "bad topic": Broken("physicalName: nyc.legs", "physicalName: nyc/legs", "schema[legs].physicalName", "'nyc/legs' is no name of a topic", "nyc/legs"),
    "format": Broken("format: json", "format: xml", "servers[0].format", "'xml' is not supported; must be json, avro or protobuf", "xml"),
    "avro without framing": Broken("format: json", "format: avro", "servers[0].format", "add the custom property framing: confluent or glue", "avro"),
    "encoding": Broken("format: json", "format: json, encoding: latin-1", "servers[0].encoding", "must be UTF-8", "latin-1"),
    # SLA
    "unknown SLA": Broken("property: freshness", "property: freshnes", "slaProperties[freshnes].property", "did you mean freshness?", "freshnes"),
    "SLA unit": Broken("unit: m}", "unit: months}", "slaProperties[freshness].unit", "unit 'months': must be d, h, m or s", "months"),
    "SLA without unit": Broken(", unit: m}", "}", "slaProperties[freshness]", "unit nothing", "freshness"),
    "SLA not above zero": Broken("value: 5", "value: 0", "slaProperties[freshness].value", "must be a number above 0", "freshness"),
    "SLA of a column": Broken("unit: m}", "unit: m, element: legs.day}", "slaProperties[freshness].element", "must be legs, or absent", "freshness"),
    "SLA twice": Broken("property: retention", "property: freshness", "slaProperties[freshness].property", "stands twice", "value: 2, unit: days"),
    # quality
    "severity": Broken("severity: warning", "severity: info", f"{P}[delay].quality[0].severity", "'info': must be error or warning", "info"),
    "unit of a rule": Broken("unit: percent", "unit: share", f"{P}[delay].quality[0].unit", "must be rows or percent", "share"),
    "threshold not a number": Broken("mustBe: 0", "mustBe: none", "schema[legs].quality[days_are_known].mustBe", "'none': must be a number", "none"),
    "threshold nothing": Broken("mustBe: 0", "mustBe:", "schema[legs].quality[days_are_known].mustBe", "nothing: must be a number", "mustBe:"),
    "thresholds crossed": Broken("mustBe: 0", "mustBeBetween: [3, 2]", "schema[legs].quality[days_are_known].mustBeBetween", "the lower number comes first", "[3, 2]"),
    "metric of a table at a column": Broken("metric: nullValues, mustBeLessThan: 5, unit: percent", "metric: rowCount, mustBeLessThan: 5", f"{P}[delay].quality[0].metric", "rowCount belongs to the quality of a table", "rowCount, mustBeLess"),
    "metric of a column at the table": Broken("metric: rowCount", "metric: nullValues", "schema[legs].quality[has_rows].metric", "belongs to the quality of a column", "has_rows"),
    "percent of rows": Broken("metric: rowCount", "metric: rowCount, unit: percent", "schema[legs].quality[has_rows].unit", "counted in rows", "has_rows"),
    "percent of a query": Broken("type: sql", "type: sql\n        unit: percent", "schema[legs].quality[days_are_known].unit", "only a metric can be percent", "unit: percent\n        query"),
    "no arguments": Broken("metric: nullValues", "metric: invalidValues", f"{P}[delay].quality[0]", "invalidValues needs arguments: validValues or pattern", "invalidValues"),
    "unknown argument": Broken("metric: nullValues", "metric: missingValues, arguments: {missingValues: [x], x: 1}", f"{P}[delay].quality[0].arguments.x", "missingValues has no such argument; valid: missingValues", "x: 1"),
    "argument no list": Broken("metric: nullValues", "metric: missingValues, arguments: {missingValues: x}", f"{P}[delay].quality[0].arguments.missingValues", "must be a list", "missingValues: x"),
    "argument pattern": Broken("metric: nullValues", "metric: invalidValues, arguments: {pattern: '['}", f"{P}[delay].quality[0].arguments.pattern", "is no regular expression", "'['"),
    "unknown column in a rule": Broken("metric: rowCount", "metric: duplicateValues, arguments: {properties: [dy]}", "schema[legs].quality[has_rows].arguments.properties[0]", "'dy' is no column; did you mean day?", "[dy]"),
    "table duplicates without columns": Broken("metric: rowCount", "metric: duplicateValues", "schema[legs].quality[has_rows]", "needs arguments: properties", "has_rows"),
    "column duplicates with columns": Broken("metric: nullValues, mustBeLessThan: 5, unit: percent", "metric: duplicateValues, mustBe: 0, arguments: {properties: [day]}", f"{P}[delay].quality[0].arguments.properties", "here the column is meant", "[day]"),
    "rule without name": Broken("- name: days_are_known\n        type: sql", "- type: sql", "schema[legs].quality[1]", "a SQL rule needs a name", "- type: sql"),
    "rule name": Broken("days_are_known", "days are known", "schema[legs].quality[days are known].name", "must be snake_case"),
    "rule name twice": Broken("days_are_known", "has_rows", "schema[legs].quality[has_rows]", "a second rule is named has_rows", "- name: has_rows"),
    "rule is no SELECT": Broken("SELECT count(*) FROM {table} WHERE day IS NULL", "DELETE FROM {table}", "schema[legs].quality[days_are_known].query", "must be one SELECT", "DELETE"),
    "rule of two statements": Broken("WHERE day IS NULL", "; SELECT 1", "schema[legs].quality[days_are_known].query", "more than one statement", "; SELECT 1"),
    "unknown placeholder": Broken("WHERE day IS NULL", "WHERE {column} IS NULL", "schema[legs].quality[days_are_known].query", "{column} is no placeholder here; must be {table}", "{column}"),
    "custom rule": Broken("metric: nullValues, mustBeLessThan: 5, unit: percent", "type: custom, engine: soda, implementation: x", f"{P}[delay].quality[0].type", "custom rules are not supported", "soda"),
    # YAML
    "duplicate key": Broken("domain: operations", "name: legs", "name", "stands twice, first on line 4; remove one", "name: legs\ntags"),
    "no YAML": Broken("tags: [aviation]", "tags: [aviation", "", "not YAML: while parsing a flow sequence", "team:"),
    "tag": Broken("domain: operations", "domain: !!str operations", "domain", "tags are not supported"),
    "merge key": Broken("domain: operations", "<<: {domain: operations}", "<<", "merge keys are not part of YAML 1.2"),
    "unknown anchor": Broken("domain: operations", "domain: *ops", "domain", "*ops refers to no anchor"),
    "second document": Broken("domain: operations", "---", "", "holds a second document"),
}  # fmt: skip
MARTS = {
    "no inputs": Broken("  - {property: inputs, value: {legs: day}}\n", "", "customProperties", "a mart needs the custom property inputs", "customProperties"),
    "inputs no mapping": Broken("{legs: day}", "[legs]", "customProperties[inputs].value", "must be a mapping of dataset to column or null", "inputs"),
    "no slice": Broken("{legs: day}", "{legs: null}", "customProperties[inputs].value", "no input names a slice", "inputs"),
    "input column no text": Broken("{legs: day}", "{legs: 3}", "customProperties[inputs].value.legs", "must name a column of legs, or be null", "inputs"),
    "unknown input": Broken("{legs: day}", "{legs: day, leg: null}", "customProperties[inputs].value.leg", "there is no dataset leg; did you mean legs?", "inputs"),
    "input not read": Broken("{legs: day}", "{legs: day, more: null}", "customProperties[inputs].value.more", "daily.sql does not read more", "inputs"),
    "unknown column of input": Broken("{legs: day}", "{legs: dy}", "customProperties[inputs].value.legs", "legs has no column dy; did you mean day?", "inputs"),
    "types disagree": Broken("{legs: day}", "{legs: seen_at}", "customProperties[inputs].value.legs", "legs.seen_at is timestamptz, but the slice day is date", "inputs"),
    "cooldown": Broken("PT30S", "30 s", "customProperties[cooldown].value", "'30 s' is no ISO 8601 duration", "cooldown"),
    "source property": Broken("{property: cooldown, value: PT30S}", "{property: managed, value: true}", "customProperties[managed].value", "belongs to sources", "managed"),
    "no key": Broken("        primaryKey: true\n", "", "schema[daily]", "a mart needs a key", "  - name: daily"),
    "no partitioned column": Broken("        partitioned: true\n", "", "schema[daily]", "here: none", "  - name: daily"),
    "slice not in the key": Broken("        partitioned: true\n      - name: legs\n", "      - name: legs\n        partitioned: true\n", "schema[daily].properties[legs].partitioned", "must be part of the key", "partitioned"),
    "slice of numbers": Broken("logicalType: date", "logicalType: number", "schema[daily].properties[day].logicalType", "number cannot be a slice", "number"),
    "topic": Broken("  - name: daily\n", "  - name: daily\n    physicalName: x\n", "schema[daily].physicalName", "names the topic of a source", "physicalName"),
    "field of a message": Broken("      - name: legs\n", "      - name: legs\n        physicalName: x\n", "schema[daily].properties[legs].physicalName", "only a source has fields of messages", "physicalName"),
    "retention": Broken("status: active", "slaProperties: [{property: retention, value: 1, unit: d}]\nstatus: active", "slaProperties[retention].property", "a mart has none"),
    "both": Broken("status: active", "servers: [{server: k, type: kafka, host: h}]\nstatus: active", "servers", "this dataset has both"),
}  # fmt: skip


def write(folder: Path, source: str = SOURCE, mart: str = MART, transform: str = TRANSFORM) -> Path:
    (folder / "legs.yaml").write_text(source, encoding="utf-8")
    (folder / "daily.yaml").write_text(mart, encoding="utf-8")
    (folder / "daily.sql").write_text(transform, encoding="utf-8")
    more = SOURCE.replace("legs-id", "more-id").replace("name: legs", "name: more").replace("nyc.legs", "nyc.more")
    (folder / "more.yaml").write_text(more, encoding="utf-8")
    return folder


def check(folder: Path, file: str, text: str, broken: Broken) -> None:
    with pytest.raises(ContractError) as caught:
        load_datasets(folder)
    problems = [p for p in caught.value.problems if p.file.name == file]
    assert len(problems) == len(caught.value.problems) == 1, str(caught.value)
    (problem,) = problems
    wanted = broken.at or broken.new.strip().splitlines()[0]
    assert wanted in text
    line = text[: text.rindex(wanted)].count("\n") + 1
    assert (problem.field, problem.line) == (broken.field, line), str(problem)
    assert broken.message in problem.message
    place = f"{folder / file}:{line}: " + (f"{broken.field}: " if broken.field else "")
    assert f"{place}{problem.message}" in str(caught.value)


def test_the_unbroken_contracts_load(tmp_path: Path) -> None:
    assert list(load_datasets(write(tmp_path))) == ["legs", "more", "daily"]


@pytest.mark.parametrize("broken", SOURCES.values(), ids=SOURCES)
def test_source(tmp_path: Path, broken: Broken) -> None:
    assert broken.old in SOURCE
    text = SOURCE.replace(broken.old, broken.new, 1)
    # the mart would only repeat that its input is broken if it did not wait for it
    check(write(tmp_path, source=text), "legs.yaml", text, broken)


@pytest.mark.parametrize("broken", MARTS.values(), ids=MARTS)
def test_mart(tmp_path: Path, broken: Broken) -> None:
    assert broken.old in MART
    text = MART.replace(broken.old, broken.new, 1)
    check(write(tmp_path, mart=text), "daily.yaml", text, broken)
