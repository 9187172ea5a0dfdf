"""PostgREST's read grammar: from a query string to a typed ``Query``. What it does not know, it refuses."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from api.catalog import Column, Dataset
from api.filters import Filter, parse_filter
from api.problems import Problem, did_you_mean, one_of
from api.values import PARSERS

DEFAULT_LIMIT = 1_000
MAX_LIMIT = 10_000
MAX_PARAMETERS = 100
PARAMETERS = ("select", "order", "limit", "cursor")
KEY_PARAMETERS = frozenset({"apikey", "api_key", "api-key", "x-api-key", "key", "token", "access_token"})

_ORDER_WORDS = ("asc", "desc", "nullsfirst", "nullslast")


@dataclass(frozen=True, slots=True)
class Ordering:
    """One term of the order."""

    column: Column
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What rows are asked for: typed, complete, independent of the cursor."""

    select: tuple[Column, ...]
    filters: tuple[Filter, ...]
    order: tuple[Ordering, ...]  # total: the key completes it
    limit: int
    cursor: str | None
    canonical: str  # equal for queries that differ in nothing but the order of their parameters


def parse_parameters(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string, decoded.

    Raises:
        Problem: It is not UTF-8, or holds too many parameters.
    """
    if not query_string:
        return []
    try:
        pairs = parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Problem("invalid-query", "The query string is not UTF-8.", None, "Percent-encode UTF-8 bytes.") from None
    if len(pairs) > MAX_PARAMETERS:
        raise Problem("invalid-query", f"{len(pairs)} parameters are too many.", f"At most {MAX_PARAMETERS} are read.")
    return pairs


def refuse_key(name: str) -> None:
    """Refuse a parameter whose name says that its value is an API key."""
    if name.lower() in KEY_PARAMETERS:
        raise Problem(
            "key-in-url",
            f"The parameter '{name}' looks like an API key, and addresses are written to logs and histories.",
            "Send the key as the header 'Authorization: Bearer KEY', 'apikey: KEY' or 'X-API-Key: KEY'.",
            "If it was a real key, have it replaced.",
        )


def parse_query(dataset: Dataset, pairs: list[tuple[str, str]]) -> Query:
    """Check a query against the dataset's columns.

    Args:
        dataset: Whose rows are asked for.
        pairs: Result of ``parse_parameters``.

    Raises:
        Problem: Anything unknown or invalid; it names what would be valid.
    """
    reserved: dict[str, str] = {}
    filters: list[Filter] = []
    conditions: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in PARAMETERS:
            if name in reserved:
                raise Problem("invalid-query", f"The parameter '{name}' is given twice.")
            reserved[name] = value
            continue
        column = _find_column(dataset, name)
        if column is None:
            refuse_key(name)
            raise _unknown_parameter(dataset, name)
        filters.append(parse_filter(column, value))
        conditions.append((column.name, value))
    select = _select(dataset, reserved.get("select", "*"))
    order = _order(dataset, reserved.get("order"))
    limit = _limit(reserved.get("limit"))
    canonical = repr(
        (
            [column.name for column in select],
            sorted(conditions),
            [(term.column.name, term.descending, term.nulls_first) for term in order],
            limit,
        )
    )
    return Query(select, tuple(filters), order, limit, reserved.get("cursor"), canonical)


def _find_column(dataset: Dataset, name: str) -> Column | None:
    """A column by name; a name in double quotes is a column even where a parameter has the same name."""
    return dataset.column(name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name)


def _unknown_parameter(dataset: Dataset, name: str) -> Problem:
    valid = [*PARAMETERS, *dataset.columns]
    hint = did_you_mean(name, valid)
    if name == "offset":
        hint = 'Page by following the Link header with rel="next": its cursor costs the same on every page.'
    return Problem(
        "unknown-parameter",
        f"'{name}' is neither a parameter nor a column of {dataset.name}.",
        f"{one_of('parameters', PARAMETERS)} {one_of('columns', dataset.columns)}",
        hint,
    )


def _column(dataset: Dataset, name: str, parameter: str) -> Column:
    column = _find_column(dataset, name)
    if column is None:
        raise Problem(
            "unknown-column",
            f"'{parameter}' names '{name}', which is not a column of {dataset.name}.",
            one_of("columns", dataset.columns),
            did_you_mean(name, dataset.columns),
        )
    return column


def _select(dataset: Dataset, text: str) -> tuple[Column, ...]:
    columns: dict[str, Column] = {}
    for name in text.split(","):
        chosen = list(dataset.columns.values()) if name == "*" else [_column(dataset, name, "select")]
        for column in chosen:
            if column.name in columns:
                raise Problem("invalid-query", f"'select' names '{column.name}' twice.")
            columns[column.name] = column
    return tuple(columns.values())


def _order(dataset: Dataset, text: str | None) -> tuple[Ordering, ...]:
    terms: dict[str, Ordering] = {}
    for term in text.split(",") if text is not None else ():
        ordering = _ordering(dataset, term)
        if ordering.column.name in terms:
            raise Problem("invalid-query", f"'order' names '{ordering.column.name}' twice.")
        terms[ordering.column.name] = ordering
    # the key in the direction of the last term: one direction throughout is one range of an index
    descending = next(reversed(terms.values())).descending if terms else False
    for column in dataset.key_columns:
        terms.setdefault(column.name, Ordering(column, descending, descending))
    return tuple(terms.values())


def _ordering(dataset: Dataset, term: str) -> Ordering:
    name, *words = term.split(".")
    column = _column(dataset, name, "order")
    direction = words.pop(0) if words and words[0] in ("asc", "desc") else "asc"
    nulls = words.pop(0) if words and words[0] in ("nullsfirst", "nullslast") else None
    if words:
        raise Problem(
            "invalid-value",
            f"'order' has '{term}', where '{words[0]}' is not understood.",
            "Valid: column[.asc|.desc][.nullsfirst|.nullslast].",
            did_you_mean(words[0], _ORDER_WORDS),
        )
    if column.sql_type not in PARSERS:
        raise Problem(
            "invalid-value",
            f"'order' names '{column.name}', whose type {column.sql_type} has no order.",
            one_of("columns with an order", [c.name for c in dataset.columns.values() if c.sql_type in PARSERS]),
        )
    # PostgreSQL's default: nulls count as the largest values
    nulls_first = nulls == "nullsfirst" if nulls else direction == "desc"
    return Ordering(column, direction == "desc", nulls_first)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise Problem(
            "invalid-value",
            f"'limit' cannot be '{text}'.",
            f"Valid: 1 to {MAX_LIMIT}.",
            'Follow the Link header with rel="next" for more rows.',
        )
    return int(text)
