"""The grammar refuses what it does not know, and says what would be valid."""

from urllib.parse import quote

import pytest

from api.catalog import SYSTEM_COLUMNS, Column, Dataset
from api.cursors import Cursors, Position
from api.encoding import accepts_gzip
from api.grammar import Query, parse_parameters, parse_query
from api.problems import CODES, Problem
from api.sql import page_statement

COLUMNS = {
    column.name: column
    for column in (
        Column("carrier", "string", "text", False),
        Column("day", "date", "date", False),
        Column("delay", "integer", "smallint", True),
        Column("mass", "number", "real", True),
        Column("late", "boolean", "boolean", True),
        Column("seen_at", "timestamp", "timestamptz", True),
        Column("status", "string", "text", False, enum=("scheduled", "cancelled")),
        Column("order", "integer", "integer", True),
        Column("extra", "object", "jsonb", True),
    )
}
DATASET = Dataset(
    "flights", "mart", "1.0.0", "hash", "", "ops", (), "active", None, None, ("carrier", "day"), None,
    COLUMNS, SYSTEM_COLUMNS,
)  # fmt: skip


def parse(query_string: str) -> Query:
    return parse_query(DATASET, parse_parameters(query_string.encode()))


def refusal(query_string: str) -> Problem:
    with pytest.raises(Problem) as caught:
        parse(query_string)
    return caught.value


def test_defaults() -> None:
    query = parse("")
    assert [column.name for column in query.select] == list(COLUMNS)
    assert [(term.column.name, term.descending) for term in query.order] == [("carrier", False), ("day", False)]
    assert (query.limit, query.cursor, query.filters) == (1000, None, ())


@pytest.mark.parametrize(
    ("text", "operator", "value", "negated"),
    [
        ("delay=eq.5", "eq", 5, False),
        ("delay=not.gte.-5", "gte", -5, True),
        ("delay=in.(1,2,3)", "in", [1, 2, 3], False),
        ("delay=in.()", "in", [], False),
        ('carrier=in.(UA,"a,b","say \\"hi\\"",)', "in", ["UA", "a,b", 'say "hi"', ""], False),
        ("carrier=eq.a.b.c", "eq", "a.b.c", False),
        ("carrier=eq.", "eq", "", False),
        ("carrier=like.U*", "like", "U%", False),
        ("delay=is.null", "is", "null", False),
        ("delay=not.is.NULL", "is", "null", True),
        ("late=is.unknown", "is", "unknown", False),
        ("late=eq.TRUE", "eq", True, False),
        ("mass=lt.1e3", "lt", 1000.0, False),
        ("day=eq.9999-12-31", "eq", "9999-12-31", False),
        ("seen_at=gte.2013-01-01", "gte", "2013-01-01T00:00:00+00:00", False),
        ("seen_at=gte.2013-01-01T05:00:00+05:00", "gte", "2013-01-01T00:00:00+00:00", False),
        ("status=eq.cancelled", "eq", "cancelled", False),
        ("extra=is.not_null", "is", "not_null", False),
        ("_version=gt.7", "gt", 7, False),
        ('"order"=eq.1', "eq", 1, False),
    ],
)
def test_filters(text: str, operator: str, value: object, negated: bool) -> None:
    (found,) = parse(text.replace("=", "=", 1)).filters
    assert (found.operator, found.value, found.negated) == (operator, value, negated)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("carier=eq.UA", "unknown-parameter", "Did you mean 'carrier'?"),
        ("offset=10", "unknown-parameter", "Link header"),
        ("limit=0", "invalid-value", "Valid: 1 to 10000."),
        ("limit=10001", "invalid-value", "Valid: 1 to 10000."),
        ("limit=-1", "invalid-value", "Valid: 1 to 10000."),
        ("limit=ten", "invalid-value", "Valid: 1 to 10000."),
        ("limit=٣", "invalid-value", "Valid: 1 to 10000."),
        ("limit=5&limit=6", "invalid-query", "twice"),
        ("select=carrier,carrier", "invalid-query", "twice"),
        ("select=*,carrier", "invalid-query", "twice"),
        ("select=", "unknown-column", "Valid columns: carrier"),
        ("select=dep_delay.avg()", "unknown-column", "Valid columns: carrier"),
        ("select=alias:carrier", "unknown-column", "Valid columns: carrier"),
        ("select=carrier::int", "unknown-column", "Valid columns: carrier"),
        ("order=dely.desc", "unknown-column", "Did you mean 'delay'?"),
        ("order=delay.dsc", "invalid-value", "Did you mean 'desc'?"),
        ("order=delay.nullslast.desc", "invalid-value", "nullsfirst"),
        ("order=delay,delay.desc", "invalid-query", "twice"),
        ("order=extra", "invalid-value", "has no order"),
        ("order=", "unknown-column", "Valid columns"),
        ("carrier=UA", "unknown-operator", "Did you mean 'carrier=eq.UA'?"),
        ("carrier=equals.UA", "unknown-operator", "eq, neq"),
        ("carrier=ilike.u*", "unknown-operator", "Did you mean 'like'?"),
        ("carrier=not.UA", "unknown-operator", "operators eq"),
        ("carrier=not.not.eq.UA", "unknown-operator", "operators eq"),
        ("delay=eq.40000", "invalid-value", "-32768 to 32767"),
        ("delay=eq.1.5", "invalid-value", "an integer"),
        ("delay=eq.1_0", "invalid-value", "an integer"),
        ("delay=eq." + "9" * 5000, "invalid-value", "an integer"),
        ("delay=eq.٣", "invalid-value", "an integer"),
        ("delay=like.1*", "unknown-operator", "needs a text column"),
        ("delay=is.true", "invalid-value", "null, not_null"),
        ("delay=is.nul", "invalid-value", "Did you mean 'null'?"),
        ("delay=in.1,2", "invalid-value", "in.(a,b"),
        ("delay=in.(1,x)", "invalid-value", "'x'"),
        ('carrier=in.("a"b)', "invalid-value", "stray quote"),
        ('carrier=in.("a)', "invalid-value", "stray quote"),
        ("delay=in.(" + "1," * 1000 + "1)", "invalid-value", "more than 1000"),
        ("mass=eq.1e39", "invalid-value", "3.4e38"),
        ("mass=eq.nan", "invalid-value", "12.5"),
        ("late=eq.yes", "invalid-value", "true or false"),
        ("day=eq.2013-02-30", "invalid-value", "2013-01-31"),
        ("day=eq.20130101", "invalid-value", "2013-01-31"),
        ("seen_at=gt.yesterday", "invalid-value", "2013-01-31T18:00:00Z"),
        ("seen_at=gt.0001-01-01T00:00:00+14:00", "invalid-value", "2013-01-31"),
        ("status=eq.canceled", "invalid-value", "Did you mean 'cancelled'?"),
        ("carrier=eq.%00", "invalid-value", "null characters"),
        ("carrier=like.%00", "invalid-value", "null characters"),
        ("carrier=like.U\\", "invalid-value", "backslash"),
        ("carrier=eq.%ff", "invalid-query", "not UTF-8"),
        ("extra=eq.1", "unknown-operator", "is.null"),
        ("apikey=s3cret", "key-in-url", "Authorization: Bearer"),
        ("Token=s3cret", "key-in-url", "Authorization: Bearer"),
        ("&".join(["delay=gt.1"] * 101), "invalid-query", "At most 100"),
    ],
)
def test_refusals_say_what_would_be_valid(text: str, code: str, says: str) -> None:
    problem = refusal(text)
    assert problem.code == code
    assert says in problem.body("r", "/").decode().replace('\\"', '"')
    assert "s3cret" not in str(problem.body("r", "/"))


def test_values_are_bound_never_inlined() -> None:
    nasty = "'; DROP TABLE curated.flights; --"
    query = parse(f"carrier=eq.{quote(nasty)}&carrier=like.{quote(nasty)}&carrier=in.({quote(nasty)})&delay=gt.4711")
    statement = page_statement(DATASET, query, [nasty, "2013-01-01"])
    assert "DROP" not in statement.text
    assert "4711" not in statement.text
    assert statement.values == ["flights", nasty, nasty, [nasty], 4711, nasty, "2013-01-01"]


def test_identifiers_are_quoted() -> None:
    column = Column('a"b; --', "string", "text", False)
    dataset = Dataset(
        'x"y', "mart", "1", "h", "", "d", (), "active", None, None, (column.name,), None, {column.name: column}, {}
    )
    assert 'curated."x""y"' in page_statement(dataset, parse_query(dataset, [])).text
    assert '"a""b; --"' in page_statement(dataset, parse_query(dataset, [])).text


def test_one_direction_is_one_range_of_the_index() -> None:
    statement = page_statement(DATASET, parse("order=carrier.desc"), ["UA", "2013-01-01"])
    assert '("carrier", "day") < (' in statement.text
    assert 'ORDER BY "carrier" DESC, "day" DESC' in statement.text


def test_parameter_order_does_not_change_the_query() -> None:
    assert parse("delay=gt.1&carrier=eq.UA&limit=5").canonical == parse("limit=5&carrier=eq.UA&delay=gt.1").canonical
    texts = ["", "limit=5", "delay=gt.1", "delay=gt.2", "delay=not.gt.1", "select=carrier,day", "select=day,carrier",
             "order=delay", "order=delay.desc", "order=delay.nullsfirst"]  # fmt: skip
    assert len({parse(text).canonical for text in texts}) == len(texts)


def test_cursors_belong_to_one_query_and_cannot_be_forged() -> None:
    cursors = Cursors(b"secret")
    position = Position("epoch", 50, ["UA", None])
    text = cursors.write(position, "query")
    assert cursors.read(text, "query") == position
    changed = text[:-2] + ("A" if text[-2] != "A" else "B") + text[-1]
    for wrong, binding in ((text, "other"), (changed, "query"), ("", "query"), ("é", "query"), (text[:10], "query")):
        with pytest.raises(Problem) as caught:
            cursors.read(wrong, binding)
        assert caught.value.code == "invalid-cursor"
    with pytest.raises(Problem):
        Cursors(b"another").read(text, "query")


@pytest.mark.parametrize(
    ("header", "allowed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip; q=0", False), ("br", False), ("", False)],
)
def test_accept_encoding(header: str, allowed: bool) -> None:
    assert accepts_gzip(header) is allowed


def test_problems_have_statuses_of_errors() -> None:
    assert all(400 <= status < 600 for status, _ in CODES.values())
