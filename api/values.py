"""Filter values: from the text of a URL to what the database driver binds, by column type."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LARGEST_REAL = 3.4028234663852886e38


def _integer(bits: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # Python refuses to convert very long digit strings with an error of its own
        if not _INTEGER.fullmatch(text) or len(text) > 20:
            raise ValueError
        value = int(text)
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise ValueError
        return value

    return parse


def _number(largest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if text in ("NaN", "Infinity", "-Infinity"):
            return float(text)
        if not _NUMBER.fullmatch(text):
            raise ValueError
        value = float(text)
        if abs(value) > largest:
            raise ValueError
        return value

    return parse


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


# Dates and times stay text: the driver turns Python's greatest ones, a common "for ever", into infinity.
def _date(text: str) -> str:
    if not _DATE.fullmatch(text):
        raise ValueError
    return date.fromisoformat(text).isoformat()


def _timestamp(text: str) -> str:
    if not _DATE.match(text):
        raise ValueError
    # a plus sign that was not percent-encoded reaches us as a space
    value = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if "T" in text else text)
    return (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


# SQL type of a column: (parser, what it takes); other types can be selected, not filtered
PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "text": (_text, "text without null characters"),
    "smallint": (_integer(16), "an integer from -32768 to 32767"),
    "integer": (_integer(32), "an integer from -2147483648 to 2147483647"),
    "bigint": (_integer(64), "an integer from -9223372036854775808 to 9223372036854775807"),
    "real": (_number(_LARGEST_REAL), "a number like 12.5, up to 3.4e38"),
    "double precision": (_number(float("1.7976931348623157e308")), "a number like 12.5"),
    "boolean": (_boolean, "true or false"),
    "date": (_date, "a date like 2013-01-31"),
    "timestamptz": (_timestamp, "a date or a time like 2013-01-31T18:00:00Z (UTC unless it has an offset)"),
}


def parse_value(sql_type: str, text: str) -> Any:
    """The value for the driver.

    Raises:
        ValueError: The text is no value of that type.
    """
    try:
        return PARSERS[sql_type][0](text)
    except (ValueError, KeyError, OverflowError):
        raise ValueError(PARSERS[sql_type][1]) from None
