"""The hot endpoint: rows of a dataset, one page or one record, built as JSON by PostgreSQL."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, unquote, urlencode

from api.boundary import Receive, Send
from api.catalog import Dataset
from api.cursors import Position
from api.database import CatalogOutdated
from api.encoding import encode
from api.filters import Filter
from api.grammar import Query, parse_parameters, parse_query
from api.problems import Problem
from api.service import RELEASE, Service, service_of
from api.sql import page_statement
from api.values import parse_value

_JSON = b"application/json"
_ACCEPTED = frozenset({"", "*/*", "application/*", "application/json"})
_PARSED_SIZE = 512
_Parsed = tuple[list[tuple[str, str]], Query]  # of a query string
_FIXED_HEADERS = [
    (b"content-type", _JSON),
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"Accept, Accept-Encoding, Authorization, Apikey, X-API-Key"),
]


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a query."""

    body: bytes
    returned: int  # rows
    more: bool
    last: list[str | None] | None
    version: int
    epoch: str
    published_at: datetime | None


class Rows:
    """``GET /v1/{dataset}`` as a bare ASGI application, and ``GET /v1/{dataset}/{key}`` when ``single``."""

    def __init__(self, *, single: bool) -> None:
        """Serve pages, or single records."""
        self._single = single
        self._parsed: dict[tuple[str, bytes], tuple[Dataset, _Parsed]] = {}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request; what goes wrong is raised as a Problem."""
        service = service_of(scope)
        key = await service.keys.authenticate(scope)
        name = scope["path_params"]["dataset"]
        scope["pista"] |= {"key": key.name, "dataset": name}
        dataset, known = service.dataset(key, name)
        accept, accept_encoding, if_none_match = _negotiation(scope["headers"])
        _check_accept(accept)
        pairs, query = self._parse(dataset, scope["query_string"])
        if self._single:
            query = _single_record(dataset, query, pairs, scope)
        tag = f"{dataset.name}\0{dataset.contract_hash}\0{RELEASE}\0{self._single}\0{query.canonical}\0{query.cursor}"
        if if_none_match and service.feed.fresh:
            etag = _etag(tag, known.version, known.epoch)
            if etag.removeprefix("W/") in if_none_match:
                headers = _headers(etag, known.version, known.published_at)
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        position = self._position(service, dataset, query)
        page = await _fetch(service, dataset, query, position)
        headers = _headers(_etag(tag, page.version, page.epoch), page.version, page.published_at)
        scope["pista"]["rows"] = page.returned
        if self._single:
            body = _record(dataset, page, scope)
        else:
            body = page.body
            headers += self._range(service, scope, dataset, query, pairs, position, page)
        body, coding = await encode(body, accept_encoding)
        await send({"type": "http.response.start", "status": 200, "headers": headers + coding})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _parse(self, dataset: Dataset, query_string: bytes) -> _Parsed:
        """Parameters and query; clients repeat themselves, so the last ones are kept."""
        place = (dataset.name, query_string)
        known = self._parsed.get(place)
        if known is not None and known[0] is dataset:
            return known[1]
        pairs = parse_parameters(query_string)
        parsed = pairs, parse_query(dataset, pairs)
        if len(self._parsed) >= _PARSED_SIZE:
            self._parsed.clear()
        self._parsed[place] = dataset, parsed
        return parsed

    @staticmethod
    def _position(service: Service, dataset: Dataset, query: Query) -> Position | None:
        if query.cursor is None:
            return None
        return service.cursors.read(query.cursor, f"{dataset.name}\0{query.canonical}")

    @staticmethod
    def _range(
        service: Service,
        scope: Any,
        dataset: Dataset,
        query: Query,
        pairs: list[tuple[str, str]],
        position: Position | None,
        page: Page,
    ) -> list[tuple[bytes, bytes]]:
        """``Content-Range`` always, ``Link`` where more remains."""
        start = position.rows if position else 0
        extent = f"{start}-{start + page.returned - 1}" if page.returned else "*"
        headers = [(b"content-range", f"{extent}/*".encode())]
        if page.more and page.last is not None:
            after = Position(page.epoch, start + page.returned, page.last)
            cursor = service.cursors.write(after, f"{dataset.name}\0{query.canonical}")
            kept = [pair for pair in pairs if pair[0] != "cursor"]
            target = urlencode([*kept, ("cursor", cursor)], quote_via=quote, safe="*(),.:")
            headers.append((b"link", f'<{_base(service, scope)}/v1/{dataset.name}?{target}>; rel="next"'.encode()))
        return headers


def _base(service: Service, scope: Any) -> str:
    """Address of this service as the client knows it."""
    if service.settings.api_url:
        return service.settings.api_url.rstrip("/")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
    return f"{scope['scheme']}://{host}"


def _negotiation(headers: Any) -> tuple[str | None, str | None, str | None]:
    accept = accept_encoding = if_none_match = None
    for name, value in headers:
        if name == b"accept":
            accept = value.decode("latin-1")
        elif name == b"accept-encoding":
            accept_encoding = value.decode("latin-1")
        elif name == b"if-none-match":
            if_none_match = value.decode("latin-1")
    return accept, accept_encoding, if_none_match


def _check_accept(accept: str | None) -> None:
    if accept is None or accept in _ACCEPTED:
        return
    if any(part.partition(";")[0].strip().lower() in _ACCEPTED for part in accept.split(",")):
        return
    raise Problem("not-acceptable", f"Rows are not served as '{accept[:100]}'.", "Valid: application/json.")


def _etag(tag: str, version: int, epoch: str) -> str:
    """Weak, for compressed and plain answers share it."""
    digest = hashlib.sha256(f"{tag}\0{version}\0{epoch}".encode()).hexdigest()
    return f'W/"{digest[:32]}"'


def _headers(etag: str, version: int, published_at: datetime | None) -> list[tuple[bytes, bytes]]:
    headers = [*_FIXED_HEADERS, (b"etag", etag.encode()), (b"dataset-version", str(version).encode())]
    if published_at is not None:
        headers.append((b"last-modified", format_datetime(published_at, usegmt=True).encode()))
    return headers


async def _fetch(service: Service, dataset: Dataset, query: Query, position: Position | None) -> Page:
    statement = page_statement(dataset, query, position.last if position else None)
    try:
        row = await service.database.fetch_row(statement.text, statement.values)
    except CatalogOutdated as error:
        service.feed.reload()
        raise _changing(dataset) from error
    if row is None:
        service.feed.reload()
        raise _changing(dataset)
    version, epoch, published_at, body, found, last = row
    if position is not None and position.epoch != epoch:
        raise Problem(
            "cursor-expired", f"{dataset.name} was rebuilt since this walk began.", None, "Start without the cursor."
        )
    returned = min(found, query.limit)
    return Page((body or "[]").encode(), returned, found > query.limit, last, version, epoch, published_at)


def _changing(dataset: Dataset) -> Problem:
    return Problem(
        "catalog-changing",
        f"The contract of {dataset.name} is being applied.",
        None,
        "Try again shortly.",
        {"retry-after": "1"},
    )


def _single_record(dataset: Dataset, query: Query, pairs: list[tuple[str, str]], scope: Any) -> Query:
    """The query for the record that the path names: values of the key in order, separated by commas."""
    for name, _ in pairs:
        if name != "select":
            raise Problem("unknown-parameter", f"'{name}' does not apply to one record.", "Valid parameters: select.")
    # the raw path, for a comma or slash inside a value is percent-encoded
    raw = scope["raw_path"].split(b"/", 3 + scope.get("root_path", "").count("/"))[-1].decode("latin-1")
    texts = [unquote(part) for part in raw.split(",")]
    columns = dataset.key_columns
    valid = f"Valid: /v1/{dataset.name}/" + ",".join(f"{{{column.name}}}" for column in columns) + "."
    if len(texts) != len(columns):
        raise Problem(
            "invalid-value",
            f"The key of {dataset.name} has {len(columns)} values, not {len(texts)}.",
            valid,
            "Percent-encode a comma inside a value as %2C.",
        )
    filters = []
    for column, text in zip(columns, texts, strict=True):
        try:
            filters.append(Filter(column, "eq", parse_value(column.sql_type, text)))
        except ValueError as error:
            raise Problem("invalid-value", f"'{text}' is no value of '{column.name}'.", f"Valid: {error}.") from None
    return Query(query.select, tuple(filters), query.order, 1, None, f"{query.canonical}{texts}")


def _record(dataset: Dataset, page: Page, scope: Any) -> bytes:
    if not page.returned:
        raise Problem("unknown-record", f"{dataset.name} has no record with the key of {scope['path']}.")
    return page.body[1:-1]
