"""Every error the API can answer, as RFC 9457 problem details that PostgREST's clients read too."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from http import HTTPStatus

import orjson

CONTENT_TYPE = "application/problem+json"

# code: (HTTP status, title); the code is what programs compare, so it never changes its meaning
CODES: dict[str, tuple[int, str]] = {
    "unknown-parameter": (400, "Unknown query parameter or column"),
    "unknown-column": (400, "Unknown column"),
    "unknown-operator": (400, "Unknown filter operator"),
    "invalid-value": (400, "Invalid value"),
    "invalid-query": (400, "Invalid query string"),
    "invalid-cursor": (400, "Invalid cursor"),
    "key-in-url": (400, "API keys never go in a URL"),
    "unauthenticated": (401, "An API key is needed"),
    "not-found": (404, "No such address"),
    "unknown-dataset": (404, "No such dataset"),
    "unknown-record": (404, "No such record"),
    "method-not-allowed": (405, "Method not allowed"),
    "not-acceptable": (406, "No such representation"),
    "cursor-expired": (410, "The cursor has expired"),
    "uri-too-long": (414, "The address is too long"),
    "internal": (500, "Internal error"),
    "starting": (503, "The service is starting"),
    "busy": (503, "All database connections are busy"),
    "database-unavailable": (503, "The database cannot be reached"),
    "catalog-changing": (503, "The dataset is being changed"),
    "query-timeout": (504, "The query took too long"),
}


@dataclass
class Problem(Exception):
    """An answer that is not the one asked for.

    Attributes:
        code: One of ``CODES``; sets status and title.
        message: What happened, naming the place and the value.
        details: What would be valid.
        hint: What to do about it.
        headers: Further response headers.
    """

    code: str
    message: str
    details: str | None = None
    hint: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code][0]

    def body(self, request_id: str, instance: str) -> bytes:
        """The JSON document.

        Args:
            request_id: Names this request in the log.
            instance: Path of the request.
        """
        detail = " ".join(part for part in (self.message, self.details, self.hint) if part)
        return orjson.dumps(
            {
                "type": f"urn:pista:problem:{self.code}",
                "title": CODES[self.code][1],
                "status": self.status,
                "detail": detail,
                "instance": instance,
                "request_id": request_id,
                "code": self.code,
                "message": self.message,
                "details": self.details,
                "hint": self.hint,
            }
        )


def did_you_mean(given: str, valid: Iterable[str]) -> str | None:
    """A hint that names the nearest valid word, if one is near."""
    near = get_close_matches(given, list(valid), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else None


def one_of(what: str, valid: Iterable[str]) -> str:
    """A sentence that lists what would be valid."""
    return f"Valid {what}: {', '.join(valid)}."


def from_status(status: int) -> Problem:
    """The problem for a status that the framework raised by itself."""
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem("method-not-allowed", "This API is read only.", "Valid methods: GET, HEAD, OPTIONS.")
    if status == HTTPStatus.NOT_FOUND:
        return Problem("not-found", "There is nothing at this address.", None, "Datasets are listed at /datasets.")
    if 400 <= status < 500:
        return Problem("invalid-query", "The request cannot be understood.")
    return Problem("internal", "Something went wrong on our side.", None, "Quote the request_id when you report it.")
