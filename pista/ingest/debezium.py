"""Change events of Debezium: the row after or before the change, and what kind of change it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pista.ingest.reasons import Reason, RejectedError, show

ROW_OPERATIONS = ("c", "u", "r")  # created, updated, read by the snapshot
DELETE = "d"
MESSAGE = "m"  # written into the log of the database by an application; concerns no row
TRANSACTION_STATES = ("BEGIN", "END")


@dataclass(frozen=True, slots=True)
class Change:
    """What one event says."""

    row: Mapping[str, Any] | None  # after the change; of a deletion: before it, if the event says
    deletes: bool


def is_wrapped(document: Mapping[str, Any]) -> bool:
    """Whether the event stands beside its schema, as Connect's JSON converter writes by default."""
    return "payload" in document and "op" not in document


def envelope(document: Mapping[str, Any]) -> Any:
    """The event without the schema that may stand beside it."""
    return document["payload"] if is_wrapped(document) else document


def unwrap(document: Mapping[str, Any]) -> Change | None:
    """The change of a row; None where the event concerns no row (a message, the bounds of a transaction).

    Raises:
        RejectedError: no change event, or one that rows cannot follow, such as a truncation.
    """
    event = envelope(document)
    if event is None:
        return Change(None, deletes=True)  # a tombstone beside its schema
    operation = event.get("op") if isinstance(event, dict) else None
    if operation in ROW_OPERATIONS and isinstance(event.get("after"), dict):
        return Change(event["after"], deletes=False)
    if operation == DELETE:
        before = event.get("before")
        return Change(before if isinstance(before, dict) else None, deletes=True)
    if operation == MESSAGE or (isinstance(event, dict) and event.get("status") in TRANSACTION_STATES):
        return None
    what = f"has the operation {show(operation)}" if operation is not None else "is no change event of Debezium"
    raise RejectedError(
        Reason.UNKNOWN_CHANGE, f"the value {what}; valid: c, u or r with the row in 'after', or d for a deletion"
    )
