"""Records of a file onto a dataset's topic."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
from kafka import KafkaProducer

from pista.contracts.dataset import Column, Dataset, Framing, LogicalType, Origin
from pista.ingest.places import follow, steps
from pista.ingest.reasons import RejectedError

FLUSH_SECONDS = 60.0
BESIDE_VALUE = (Origin.KEY, Origin.HEADER)
TRUTH = {"true": True, "false": False}


class LineError(Exception):
    """A line of the file cannot be published."""


def refusal(dataset: Dataset, is_csv: bool) -> str | None:
    """Why lines of a file cannot be messages of this dataset; None if they can."""
    if dataset.framing is not Framing.NONE or dataset.debezium:
        what = "change events of Debezium" if dataset.debezium else f"{dataset.format} in the framing {dataset.framing}"
        return f"the messages of {dataset.topic} are {what}; plain JSON among them would be quarantined"
    elsewhere = [column.source for column in dataset.columns if column.required and column.origin in BESIDE_VALUE]
    if elsewhere:
        return f"a file holds values alone, and {dataset.name} needs {', '.join(elsewhere)} beside them"
    nested = [column.source for column in dataset.columns if column.path]
    if is_csv and nested:
        return f"CSV has no place for {', '.join(nested)} within an object; write NDJSON"
    return None


def read_ndjson(lines: Iterable[str], dataset: Dataset) -> Iterator[tuple[bytes | None, bytes]]:
    """Key and value of each line that holds a JSON object; the value goes out as it stands in the file.

    Raises:
        LineError: a line is no JSON object, or lacks a field of the key.
    """
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise LineError(f"line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise LineError(f"line {number} is no JSON object with fields, but {text[:60]!r}")
        yield message_key(row, dataset, number), text.encode()


def read_csv(lines: Iterable[str], dataset: Dataset) -> Iterator[tuple[bytes | None, bytes]]:
    """Key and value of each row under a header of field names; an empty cell is null.

    Raises:
        LineError: the header lacks a field of the key, or a cell is not of its column's type.
    """
    reader = csv.DictReader(lines, strict=True)
    columns = {column.source: column for column in dataset.columns}
    try:
        for cells in reader:
            if None in cells or None in cells.values():
                raise LineError(f"line {reader.line_num} has not as many cells as the header has names")
            row = {name: _cell(text, columns.get(name), reader.line_num) for name, text in cells.items()}
            yield message_key(row, dataset, reader.line_num), orjson.dumps(row)
    except csv.Error as error:
        raise LineError(f"line {reader.line_num} is no CSV: {error}") from None


def message_key(row: Mapping[str, Any], dataset: Dataset, number: int) -> bytes | None:
    """The Kafka key: the key column as text, several as a JSON object; none where the dataset has no key."""
    if not dataset.key:
        return None
    values = {}
    for column in map(dataset.column, dataset.key):
        way = steps(column)
        try:
            value = follow(row, way, column.source)
        except RejectedError as error:
            raise LineError(f"line {number}: {error.detail}") from None
        if value is None:
            raise LineError(
                f"line {number} lacks the field {column.source!r}, the key of {dataset.name}; it has {sorted(row)}"
            )
        values[str(way[-1])] = value
    if len(values) > 1:
        return orjson.dumps(values)
    (value,) = values.values()
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def publish(options: Mapping[str, Any], topic: str, messages: Iterable[tuple[bytes | None, bytes]]) -> int:
    """Publish the messages and wait until all replicas in sync have them; how many there were.

    Raises:
        LineError: as the messages do, after those before it were published.
        KafkaError: the broker refused one, or did not confirm within 60 seconds.
    """
    failures: list[BaseException] = []
    count = 0
    producer = KafkaProducer(**options, acks="all", linger_ms=20, allow_auto_create_topics=False)
    try:
        for key, value in messages:
            producer.send(topic, key=key, value=value).add_errback(failures.append)
            count += 1
            if failures:
                break
    finally:
        producer.flush(timeout=FLUSH_SECONDS)
        producer.close(timeout=FLUSH_SECONDS)
    if failures:
        raise failures[0]
    return count


def _cell(text: str, column: Column | None, number: int) -> object:
    if text == "":
        return None
    kind = column.logical_type if column else LogicalType.STRING
    try:
        if kind is LogicalType.INTEGER:
            return int(text)
        if kind is LogicalType.NUMBER:
            return float(text)
        if kind is LogicalType.BOOLEAN:
            return TRUTH[text.lower()]
    except (ValueError, KeyError):
        raise LineError(f"line {number}: {text!r} is no {kind}, as {column and column.source} must be") from None
    return text
