"""From a ``Query`` to one statement with bound values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api.catalog import Column, Dataset
from api.filters import COMPARISONS, STATES, Filter
from api.grammar import Ordering, Query

AS_TEXT = ("date", "timestamptz")


@dataclass(slots=True)
class Statement:
    """SQL text and the values of its parameters."""

    text: str = ""
    values: list[Any] = field(default_factory=list)

    def bind(self, value: Any, sql_type: str) -> str:
        """A placeholder for the value, as text where the driver's own type would not keep it exactly."""
        self.values.append(value)
        carrier = sql_type.replace(base, "text") if (base := sql_type.removesuffix("[]")) in AS_TEXT else sql_type
        cast = f"::{sql_type}" if carrier != sql_type else ""
        return f"(${len(self.values)}::{carrier}){cast}"


def quote(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def page_statement(dataset: Dataset, query: Query, after: Sequence[str | None] | None = None) -> Statement:
    """The statement of one page.

    Its one row holds ``version``, ``epoch`` and ``published_at`` of the dataset, the rows as ``body`` (JSON text,
    NULL for none), their number ``found`` (one more than the limit if there are further rows), and ``last``, the
    order columns of the page's last row as text. Rows and version come from one snapshot.

    Args:
        dataset: Whose rows.
        query: Which rows.
        after: ``last`` of the page before, or None for the first page.
    """
    statement = Statement()
    name = statement.bind(dataset.name, "text")
    conditions = [_condition(statement, condition) for condition in query.filters]
    if after is not None:
        conditions.append(_after(statement, query.order, after))
    order_names = [term.column.name for term in query.order]
    fetched = dict.fromkeys([*(column.name for column in query.select), *order_names])
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    # the limit is an integer of ours, and the planner must see it to choose an index
    statement.text = (
        f"WITH page AS MATERIALIZED (SELECT {_list(fetched)} FROM curated.{quote(dataset.name)} {where}"
        f"ORDER BY {', '.join(map(_order_term, query.order))} LIMIT {query.limit + 1}) "
        "SELECT version, epoch::text AS epoch, published_at, "
        f"(SELECT json_agg(r)::text FROM (SELECT {_list(column.name for column in query.select)} "
        f"FROM page LIMIT {query.limit}) r) AS body, "
        "(SELECT count(*) FROM page) AS found, "
        f"(SELECT ARRAY[{', '.join(f'{quote(name)}::text' for name in order_names)}] "
        f"FROM page OFFSET {query.limit - 1} LIMIT 1) AS last "
        f"FROM catalog.versions WHERE dataset = {name}"
    )
    return statement


def _list(names: Any) -> str:
    return ", ".join(map(quote, names))


def _order_term(term: Ordering) -> str:
    text = quote(term.column.name) + (" DESC" if term.descending else "")
    # an index on the column serves the order only if it asks for nothing beyond the default
    if term.column.nullable and term.nulls_first != term.descending:
        text += " NULLS FIRST" if term.nulls_first else " NULLS LAST"
    return text


def _condition(statement: Statement, condition: Filter) -> str:
    column, sql_type = quote(condition.column.name), condition.column.sql_type
    if condition.operator == "is":
        text = f"{column} IS {STATES[condition.value]}"
    elif condition.operator == "in":
        text = f"{column} = ANY({statement.bind(condition.value, sql_type + '[]')})"
    elif condition.operator == "like":
        text = f"{column} LIKE {statement.bind(condition.value, 'text')}"
    else:
        text = f"{column} {COMPARISONS[condition.operator]} {statement.bind(condition.value, sql_type)}"
    return f"NOT ({text})" if condition.negated else text


def _after(statement: Statement, order: Sequence[Ordering], last: Sequence[str | None]) -> str:
    """Rows that come after the last one in a total order, whatever its directions and nulls.

    Values are bound as text and cast by PostgreSQL, which wrote them: exact for every type.
    """
    bound = [
        None if value is None else f"({statement.bind(value, 'text')})::{term.column.sql_type}"
        for term, value in zip(order, last, strict=True)
    ]
    first = order[0]
    if all(not term.column.nullable and term.descending == first.descending for term in order):
        names = ", ".join(quote(term.column.name) for term in order)
        return f"({names}) {'<' if first.descending else '>'} ({', '.join(str(value) for value in bound)})"
    alternatives, equal = [], list[str]()
    for term, value in zip(order, bound, strict=True):
        beyond = _beyond(term, value)
        if beyond:
            alternatives.append(" AND ".join([*equal, beyond]))
        equal.append(f"{quote(term.column.name)} IS NULL" if value is None else f"{quote(term.column.name)} = {value}")
    text = "(" + " OR ".join(f"({alternative})" for alternative in alternatives) + ")"
    if not first.column.nullable:  # implied, but only this lets an index start at the right place
        text = f"{quote(first.column.name)} {'<=' if first.descending else '>='} {bound[0]} AND {text}"
    return text


def _beyond(term: Ordering, value: str | None) -> str | None:
    """Values of one column that sort strictly after the given one; None if there can be none."""
    column = quote(term.column.name)
    if value is None:
        return f"{column} IS NOT NULL" if term.nulls_first else None
    text = f"{column} {'<' if term.descending else '>'} {value}"
    return f"({text} OR {column} IS NULL)" if _nulls_follow(term.column, term) else text


def _nulls_follow(column: Column, term: Ordering) -> bool:
    return column.nullable and not term.nulls_first
