"""Personal values: dropped, or replaced by a keyed hash, before anything but quarantine stores them.

The hash is HMAC-SHA-256 of the text in UTF-8 with PISTA_PII_SECRET, in hexadecimal: the same text has the same
hash in every dataset, so hashes can be keys and be joined, and without the secret none can be guessed.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pyarrow as pa

from pista.contracts.dataset import Column, Dataset, LogicalType, Origin, Pii
from pista.ingest import debezium
from pista.ingest.arrow import Decoded
from pista.ingest.conditions import PiiSecretMissing
from pista.ingest.places import Steps, steps
from pista.ingest.reasons import Rejection
from pista.kafka.records import Headers, Record, Records
from pista.settings import Settings

NESTED = (LogicalType.OBJECT, LogicalType.ARRAY)


def hashed(secret: bytes, text: str | bytes) -> str:
    """What stands for a personal text wherever it is stored."""
    return hmac.digest(secret, text.encode() if isinstance(text, str) else text, hashlib.sha256).hex()


def personal_columns(dataset: Dataset) -> tuple[Column, ...]:
    """Columns whose values are not stored as they come."""
    return (*(column for column in dataset.columns if column.pii is not None), *dataset.dropped)


def as_stored(dataset: Dataset) -> Dataset:
    """The dataset as its raw records are to be read: hashes of personal texts are held to no rules of the texts."""
    columns = tuple(
        replace(column, enum=(), min_length=None, max_length=None, pattern=None, pii=None) if column.pii else column
        for column in dataset.columns
    )
    return replace(dataset, columns=columns, dropped=())


class Concealer:
    """Keeps what is personal in one dataset out of its rows, its raw records and its sentences.

    Raises:
        PiiSecretMissing: a column is to be hashed, and there is no secret.
    """

    def __init__(self, dataset: Dataset, settings: Settings) -> None:
        self._dataset = dataset
        self._personal = personal_columns(dataset)
        self._secret = settings.pii_secret.get_secret_value().encode() if settings.pii_secret else b""
        if not self._secret and any(column.pii is Pii.HASH for column in self._personal):
            names = ", ".join(column.name for column in self._personal if column.pii is Pii.HASH)
            raise PiiSecretMissing(
                dataset.name, f"pii: hash of {names} needs a secret, and PISTA_PII_SECRET is not set."
            )
        outer = {(column.origin, steps(column)[:1]) for column in self._personal}
        self._quotable = {
            column.name
            for column in dataset.columns
            if column.logical_type not in NESTED and (column.origin, steps(column)[:1]) not in outer
        }

    def conceal(self, decoded: Decoded) -> Decoded:
        """Rows with hashes in place of personal texts, and rejections whose sentences quote nothing personal."""
        table = decoded.table
        for column in self._personal:
            if column.pii is Pii.HASH:
                texts = [
                    None if text is None else hashed(self._secret, text) for text in table[column.name].to_pylist()
                ]
                place = table.column_names.index(column.name)
                table = table.set_column(place, table.field(place), pa.array(texts, pa.string()))
        return replace(decoded, table=table, rejections=[self._hide(rejection) for rejection in decoded.rejections])

    def _hide(self, rejection: Rejection) -> Rejection:
        if rejection.column in self._quotable:
            return rejection
        what = f"column {rejection.column}" if rejection.column else "the record"
        detail = f"{what} breaks the contract ({rejection.reason.value}); it may be personal and is not quoted here"
        return replace(rejection, detail=detail)

    def stored(self, records: Records) -> Records:
        """Records, their values plain JSON, as raw shall keep them. Values that are no JSON become null."""
        concealed = [self._stored(record) for record in records]
        return replace(
            records,
            keys=[key for key, _, _ in concealed],
            values=[value for _, value, _ in concealed],
            headers=[headers for _, _, headers in concealed] if records.headers else None,
        )

    def _stored(self, record: Record) -> tuple[bytes | None, bytes | None, Headers]:
        document = _parsed(record.value)
        clear: dict[str, Column] = {}  # texts of this record that are personal
        for row in self._rows(document):
            for column in self._personal:
                if column.origin is Origin.VALUE:
                    self._replace_at(row, steps(column), column, clear)
        value = None if document is None else orjson.dumps(document)
        return self._stored_key(record.key, clear), value, self._stored_headers(record.headers)

    def _rows(self, document: Any) -> list[Any]:
        """The parts of a value that are rows."""
        if not self._dataset.debezium or not isinstance(document, dict):
            return [document]
        event = debezium.envelope(document)
        return [event.get("before"), event.get("after")] if isinstance(event, dict) else []

    def _replace_at(self, document: Any, way: Steps, column: Column, clear: dict[str, Column]) -> None:
        for step in way[:-1]:
            document = _step(document, step)
        last = way[-1]
        found = _step(document, last)
        if found is None:
            return
        if isinstance(found, str):
            clear[found] = column
        if column.pii is Pii.HASH and isinstance(found, str):
            document[last] = hashed(self._secret, found)
        elif isinstance(document, dict):
            del document[last]
        else:
            document[last] = None

    def _stored_key(self, key: bytes | None, clear: Mapping[str, Column]) -> bytes | None:
        if key is None:
            return None
        document = _parsed(key)
        if isinstance(document, dict):
            wrapped = self._dataset.debezium and set(document) == {"schema", "payload"}
            inner = document["payload"] if wrapped else document
            for column in self._personal:
                if column.origin is Origin.KEY and column.path:
                    self._replace_at(inner, column.path, column, {})
                elif column.origin is Origin.VALUE:  # where a deletion would look for it
                    way = steps(column)
                    self._replace_at(inner, way, column, {})
                    if len(way) > 1:
                        self._replace_at(inner, way[-1:], column, {})
            if not any(column.origin is Origin.KEY and not column.path for column in self._personal):
                return orjson.dumps(document)
        column_of_key = self._column_of_whole_key() or clear.get(key.decode(errors="replace"))
        if column_of_key is None:
            return key
        return hashed(self._secret, key).encode() if column_of_key.pii is Pii.HASH else None

    def _column_of_whole_key(self) -> Column | None:
        """The personal column that a Kafka key as a whole is, or says in a deletion."""
        for column in self._personal:
            if column.origin is Origin.KEY and not column.path:
                return column
            if column.origin is Origin.VALUE and self._dataset.key == (column.name,):
                return column
        return None

    def _stored_headers(self, headers: Headers) -> Headers:
        for column in self._personal:
            if column.origin is Origin.HEADER:
                headers = tuple(_map_header(headers, str(column.path[0]), self._header_hash(column)))
        return headers

    def _header_hash(self, column: Column) -> Callable[[bytes], bytes] | None:
        return (lambda value: hashed(self._secret, value).encode()) if column.pii is Pii.HASH else None


def _map_header(headers: Headers, name: str, change: Callable[[bytes], bytes] | None) -> list[tuple[str, bytes | None]]:
    return [
        (found, value if found != name or value is None or change is None else change(value))
        for found, value in headers
        if found != name or change is not None
    ]


def _parsed(text: bytes | None) -> Any:
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _step(document: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return document[step] if isinstance(document, list) and step < len(document) else None
    return document.get(step) if isinstance(document, dict) else None
