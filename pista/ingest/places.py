"""Where a value stands in a record: in its value, its Kafka key, its headers, or what the broker says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pista.contracts.dataset import Column, Dataset, Filter, Origin
from pista.ingest.reasons import Reason, RejectedError, show
from pista.kafka.records import Headers, Record

Place = Column | Filter
Steps = tuple[str | int, ...]


def steps(place: Place) -> Steps:
    """The way from the origin to the value, whole: a value's path () is the field of that name."""
    return (place.source,) if place.origin is Origin.VALUE and not place.path else place.path


def is_text(place: Place) -> bool:
    """Whether what stands there is text, whatever it means: a header, or a Kafka key as a whole."""
    return place.origin is Origin.HEADER or (place.origin is Origin.KEY and not place.path)


class Opened:
    """One record with its value parsed; its key is parsed when it is first asked for."""

    __slots__ = ("_dataset", "_document", "_key", "_record")

    def __init__(self, dataset: Dataset, record: Record, document: Mapping[str, Any] | None) -> None:
        self._dataset = dataset
        self._record = record
        self._document = document
        self._key: Any = None

    def at(self, place: Place) -> Any:
        """What stands there, as JSON has it; None where a step is absent or null.

        Raises:
            RejectedError: what leads there is no object or array, or no text.
        """
        match place.origin:
            case Origin.VALUE:
                return follow(self._document, steps(place), place.source)
            case Origin.KEY if place.path:
                return follow(self.key_document(), place.path, place.source)
            case Origin.KEY:
                return _text(self._record.key, "the Kafka key")
            case Origin.HEADER:
                return _text(last_header(self._record.headers, str(place.path[0])), place.source)
            case Origin.RECORD:
                return self._broker(str(place.path[0]))

    def key_document(self) -> Any:
        """The Kafka key as JSON, without the schema that Debezium may wrap it in; None where there is none."""
        if self._key is None and self._record.key is not None:
            try:
                self._key = orjson.loads(self._record.key)
            except orjson.JSONDecodeError as error:
                shown = show(repr(self._record.key))
                raise RejectedError(Reason.NOT_JSON, f"the Kafka key is not JSON: {error.msg} ({shown})") from None
            if self._dataset.debezium and isinstance(self._key, dict) and set(self._key) == {"schema", "payload"}:
                self._key = self._key["payload"]
        return self._key

    def _broker(self, name: str) -> Any:
        if name == "topic":
            return self._dataset.topic
        if name == "timestamp":
            return self._record.timestamp if self._record.timestamp >= 0 else None
        return self._record.partition if name == "partition" else self._record.offset


def follow(document: Any, way: Sequence[str | int], source: str) -> Any:
    """The value at the end of the way; None where a step is absent or null.

    Raises:
        RejectedError: a step leads into something that is no object or array.
    """
    found = document
    for step in way:
        if found is None:
            return None
        if isinstance(step, int):
            if not isinstance(found, list):
                raise _no_way(source, found, step, "an array")
            found = found[step] if step < len(found) else None
        else:
            if not isinstance(found, dict):
                raise _no_way(source, found, step, "an object")
            found = found.get(step)
    return found


def _no_way(source: str, found: Any, step: str | int, valid: str) -> RejectedError:
    return RejectedError(
        Reason.WRONG_TYPE, f"on the way to {source!r}, {show(found)} has no {step!r}; valid: {valid} there"
    )


def last_header(headers: Headers, name: str) -> bytes | None:
    """The value of the last header of that name; None where there is none."""
    return next((value for found, value in reversed(headers) if found == name), None)


def _text(value: bytes | None, what: str) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        raise RejectedError(Reason.NOT_UTF8, f"{what} is not UTF-8: {show(repr(value))}") from None
