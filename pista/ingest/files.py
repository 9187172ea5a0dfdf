"""Records of a file: the lines of NDJSON, the rows of CSV or Parquet, as the values that messages would have."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.parquet

from pista.contracts.dataset import Column, Dataset, Format, Framing, LogicalType, Origin

FILE_EPOCH = -1  # of records of files: before every record of the topic
TRUTH = {"true": True, "false": False}
PARQUET_ROWS = 10_000  # decoded at once

Line = tuple[int, bytes]  # number, from 1 on, and value


class FileError(Exception):
    """A file that cannot be read as what its name says it is."""


def plain(dataset: Dataset, file: str | None = None) -> Dataset:
    """The dataset as files hold it: values are plain JSON of the row, whatever the messages are.

    Args:
        dataset: of kind upsert or append.
        file: name that quarantine gives as the topic.
    """
    return replace(dataset, topic=file or dataset.topic, format=Format.JSON, framing=Framing.NONE, debezium=False)


def read_file(path: Path, dataset: Dataset) -> Iterator[Line]:
    """The records of a file, in order; what a line holds is not judged here.

    Raises:
        FileError: the suffix is not .ndjson, .jsonl, .json, .csv or .parquet, or the file is broken.
        OSError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".ndjson", ".jsonl", ".json"):
        return _ndjson(path)
    if suffix == ".csv":
        return _csv(path, dataset)
    if suffix == ".parquet":
        return _parquet(path, dataset)
    raise FileError(f"{path}: {suffix or 'no suffix'} says no format; must be .ndjson, .jsonl, .json, .csv or .parquet")


def digest(path: Path) -> bytes:
    """SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _ndjson(path: Path) -> Iterator[Line]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            value = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if value:
                yield number, value


def _csv(path: Path, dataset: Dataset) -> Iterator[Line]:
    columns = _by_heading(dataset)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            header = next(reader, [])
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):  # no object: quarantine keeps it as it stands
                    yield reader.line_num, ",".join(cells).encode()
                    continue
                row = {name: _cell(text, columns.get(name)) for name, text in zip(header, cells, strict=True)}
                yield reader.line_num, _value(row, columns)
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileError(f"{path} is no CSV in UTF-8: {error}") from None


def _parquet(path: Path, dataset: Dataset) -> Iterator[Line]:
    columns = _by_heading(dataset)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    cells = {name: _as_in_messages(value, columns.get(name)) for name, value in row.items()}
                    yield number, _value(cells, columns)
    except pa.ArrowException as error:
        raise FileError(f"{path} is no Parquet: {error}") from None


def _by_heading(dataset: Dataset) -> dict[str, Column]:
    """Columns of values by what a heading may call them: their place in the message, or their name."""
    of_values = [column for column in dataset.columns if column.origin is Origin.VALUE]
    return {column.name: column for column in of_values} | {column.source: column for column in of_values}


def _value(row: Mapping[str, Any], columns: Mapping[str, Column]) -> bytes:
    """The row as a message: each value at the path that its column has there."""
    document: dict[str, Any] = {}
    for name, value in row.items():
        column = columns.get(name)
        path = [str(step) for step in (column.path or (column.source,))] if column else [name]
        place = document
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value
    return orjson.dumps(document, default=str)


def _cell(text: str, column: Column | None) -> object:
    """A cell as JSON has it; what is not of its column's type stays text, and the contract refuses it."""
    if text == "":
        return None
    kind = column.logical_type if column else LogicalType.STRING
    try:
        if kind is LogicalType.INTEGER:
            return int(text)
        if kind is LogicalType.NUMBER:
            return float(text)
    except ValueError:
        return text
    return TRUTH.get(text.lower(), text) if kind is LogicalType.BOOLEAN else text


def _as_in_messages(value: object, column: Column | None) -> object:
    if isinstance(value, datetime) and value.tzinfo is not None and column is not None and column.zone is not None:
        return value.astimezone(ZoneInfo(column.zone)).replace(tzinfo=None)
    return value
