"""Filters of PostgREST's read grammar: ``[not.]operator.value`` on one column."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.catalog import Column
from api.problems import Problem, did_you_mean, one_of
from api.values import PARSERS, parse_value

MAX_LIST = 1_000  # values of one in.(...)
COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OPERATORS = (*COMPARISONS, "like", "in", "is", "not")
STATES = {"null": "NULL", "not_null": "NOT NULL", "true": "TRUE", "false": "FALSE", "unknown": "UNKNOWN"}
_LIST_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"]*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on a column; all conditions of a query must hold."""

    column: Column
    operator: str  # of COMPARISONS, or like, in, is
    value: Any  # typed; a list for in, a word of STATES for is
    negated: bool = False


def parse_filter(column: Column, text: str) -> Filter:
    """The condition that a parameter's value states.

    Raises:
        Problem: Operator or value are not understood; it names what would be.
    """
    rest, negated = text, False
    operator, dot, value = rest.partition(".")
    if operator == "not" and dot:
        negated = True
        operator, dot, value = value.partition(".")
    if not dot or operator not in OPERATORS or operator == "not":
        hint = did_you_mean(operator, OPERATORS) if dot else f"Did you mean '{column.name}=eq.{text}'?"
        raise Problem(
            "unknown-operator",
            f"The filter '{column.name}={text}' has no operator that is known here.",
            "Valid: column=[not.]operator.value with the operators " + ", ".join(OPERATORS[:-1]) + ".",
            hint,
        )
    return Filter(column, operator, _operand(column, operator, value), negated)


def _operand(column: Column, operator: str, text: str) -> Any:
    if operator == "is":
        return _state(column, text)
    if column.sql_type not in PARSERS:
        raise Problem(
            "unknown-operator",
            f"'{column.name}' is {column.sql_type}, which cannot be compared.",
            "Valid: is.null, is.not_null.",
            "Fields in it can be compared once they are columns of their own.",
        )
    if operator == "like":
        return _pattern(column, text)
    if operator == "in":
        return [_value(column, item, check_enum=True) for item in _items(column, text)]
    return _value(column, text, check_enum=operator in ("eq", "neq"))


def _state(column: Column, text: str) -> str:
    valid = [word for word in STATES if column.sql_type == "boolean" or word in ("null", "not_null")]
    if text.lower() not in valid:
        raise Problem(
            "invalid-value",
            f"'{column.name}=is.{text}' is not understood.",
            one_of("states of this column", valid),
            did_you_mean(text, valid),
        )
    return text.lower()


def _pattern(column: Column, text: str) -> str:
    if column.sql_type != "text":
        raise Problem("unknown-operator", f"'like' needs a text column; '{column.name}' is {column.sql_type}.")
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise Problem("invalid-value", f"The pattern '{text}' ends with a backslash that escapes nothing.")
    value: str = _value(column, text, check_enum=False)
    return value.replace("*", "%")  # PostgREST's wildcard, which needs no percent-encoding


def _items(column: Column, text: str) -> Iterator[str]:
    """Values of ``(a,b,"c,d")``; inside double quotes a backslash takes the next character as it is."""
    if not (text.startswith("(") and text.endswith(")") and len(text) >= 2):
        raise Problem("invalid-value", f"'{column.name}=in.{text}' needs a list.", 'Valid: in.(a,b,"c,d").')
    inner, position, count = text[1:-1], 0, 0
    while inner:
        match = _LIST_ITEM.match(inner, position)
        end = match.end() if match else position
        count += 1
        if match is None or (end < len(inner) and inner[end] != ",") or count > MAX_LIST:
            reason = f"more than {MAX_LIST} values" if count > MAX_LIST else f"a stray quote after '{inner[:end]}'"
            raise Problem("invalid-value", f"The list of '{column.name}=in.' has {reason}.", 'Valid: in.(a,b,"c,d").')
        quoted, plain = match.groups()
        yield re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else plain
        position = end + 1
        if end == len(inner):
            return


def _value(column: Column, text: str, *, check_enum: bool) -> Any:
    try:
        value = parse_value(column.sql_type, text)
    except ValueError as error:
        raise Problem(
            "invalid-value", f"'{text}' is no value of '{column.name}', which is {column.sql_type}.", f"Valid: {error}."
        ) from None
    if check_enum and column.enum and value not in column.enum:
        raise Problem(
            "invalid-value",
            f"'{text}' is no value of '{column.name}'.",
            one_of("values", map(str, column.enum)),
            did_you_mean(text, map(str, column.enum)),
        )
    return value
