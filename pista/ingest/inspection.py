"""Quarantined records for people to read: chosen, counted, and without personal data unless somebody asks."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from pista.contracts.dataset import Dataset
from pista.ingest.quarantine import COLUMNS, Quarantined

HIDDEN = "(personal; --reveal shows it)"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which open records."""

    dataset: str | None = None  # None: of all datasets
    reason: str | None = None
    since: datetime | None = None  # quarantined then or later

    @property
    def parameters(self) -> dict[str, object]:
        """For ``CHOSEN``."""
        return {"dataset": self.dataset, "reason": self.reason, "since": self.since}


CHOSEN = """
    resolved_at IS NULL AND (%(dataset)s::text IS NULL OR dataset = %(dataset)s)
        AND (%(reason)s::text IS NULL OR reason = %(reason)s)
        AND (%(since)s::timestamptz IS NULL OR quarantined_at >= %(since)s)
"""


def chosen_records(connection: Connection[TupleRow], choice: Choice, limit: int | None) -> Iterator[Quarantined]:
    """Open records, oldest first, a thousand at a time; they may be large ones."""
    after = 0
    while limit is None or limit > 0:
        size = min(1_000, limit or 1_000)
        with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
            cursor.execute(
                f"SELECT {COLUMNS} FROM ingest.quarantine WHERE {CHOSEN} AND id > %(after)s ORDER BY id LIMIT %(size)s",
                choice.parameters | {"after": after, "size": size},
            )
            lines = cursor.fetchall()
        yield from lines
        if len(lines) < size:
            return
        after = lines[-1].id
        limit = None if limit is None else limit - size


def count_by_reason(connection: Connection[TupleRow], choice: Choice) -> list[tuple[str, str, int]]:
    """Dataset, reason and number of open records, most first."""
    return connection.execute(
        f"""
        SELECT dataset, reason, count(*) FROM ingest.quarantine WHERE {CHOSEN}
        GROUP BY dataset, reason ORDER BY count(*) DESC, dataset, reason
        """.encode(),
        choice.parameters,
    ).fetchall()


class View:
    """How a record is shown: what may be personal is hidden unless it is to be revealed.

    Where a contract has a personal column, whole key, value and headers are hidden, for nobody knows what
    a malformed record holds; so they are where the contract is gone.
    """

    def __init__(self, dataset: Dataset | None, *, reveal: bool) -> None:
        self._open = reveal or (dataset is not None and not sensitive_columns(dataset))
        self._harmless = set() if dataset is None else {c.name for c in dataset.columns} - sensitive_columns(dataset)

    def detail(self, line: Quarantined) -> str:
        """What is wrong; a sentence may quote the value."""
        return line.detail if self._open or line.column_name in self._harmless else HIDDEN

    def key(self, line: Quarantined) -> str:
        """The key as text."""
        return readable(line.key) if self._open else HIDDEN

    def value(self, line: Quarantined) -> str:
        """The value as text, JSON indented."""
        return readable(line.value) if self._open else HIDDEN

    def headers(self, line: Quarantined) -> str:
        """The headers as text."""
        if not line.headers:
            return "none"
        pairs = [(name, None if value is None else base64.b64decode(value)) for name, value in line.headers]
        return ", ".join(f"{name}: {readable(value)}" for name, value in pairs) if self._open else HIDDEN

    def document(self, line: Quarantined) -> dict[str, Any]:
        """The record for a line of NDJSON, bytes in base64; ``masked`` says that something is hidden."""
        return {
            "number": line.id,
            "dataset": line.dataset,
            "topic": line.topic,
            "epoch": line.epoch,
            "partition": line.partition,
            "offset": line.offset,
            "timestamp": line.timestamp,
            "reason": line.reason,
            "detail": self.detail(line),
            "column": line.column_name,
            "run_id": line.run_id,
            "quarantined_at": line.quarantined_at,
            "masked": not self._open,
            "key": _base64(line.key) if self._open else None,
            "value": _base64(line.value) if self._open else None,
            "headers": line.headers if self._open else None,
        }


def sensitive_columns(dataset: Dataset) -> set[str]:
    """Columns that are hashed, dropped, or kept from the API."""
    return {column.name for column in dataset.columns if column.pii is not None or not column.served}


def readable(value: bytes | None) -> str:
    """Bytes as a person reads them: JSON indented, text with control characters escaped, else base64."""
    if value is None:
        return "none"
    try:
        text = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode()
    except ValueError:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return f"{len(value)} bytes that are not UTF-8, in base64: {_base64(value)}"
    # a record must not move the cursor of the terminal that shows it
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
