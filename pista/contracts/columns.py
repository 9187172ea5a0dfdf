"""One property of the contract becomes one Column."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from math import isfinite
from typing import Any
from zoneinfo import available_timezones

from pista.contracts.dataset import Column, LogicalType, Pii
from pista.contracts.document import Place
from pista.contracts.extensions import COLUMN_EXTENSIONS, read_extensions
from pista.contracts.names import column_name_problem
from pista.contracts.problems import did_you_mean, either, shown
from pista.contracts.reading import IN_MESSAGE, NESTED, Reading, read_reading

# logicalTypeOptions.format of the standard: the type in PostgreSQL
INTEGERS = {"i16": "smallint", "i32": "integer", "i64": "bigint"}
NUMBERS = {"f32": "real", "f64": "double precision"}
INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}

OPTIONS = {
    LogicalType.STRING: ("minLength", "maxLength", "pattern"),
    LogicalType.INTEGER: ("format", "minimum", "maximum"),
    LogicalType.NUMBER: ("format", "minimum", "maximum"),
    LogicalType.BOOLEAN: (),
    LogicalType.TIMESTAMP: ("timezone", "defaultTimezone", "minimum", "maximum"),
    LogicalType.DATE: ("minimum", "maximum"),
    LogicalType.OBJECT: (),
    LogicalType.ARRAY: (),
}
CLASSIFICATIONS = {"public": True, "internal": True, "confidential": False, "restricted": False, "pii": False}


def read_column(place: Place, in_message: bool) -> Column | None:
    """The column that a property describes; None where its name or type cannot be used.

    ``in_message`` says that values come from a field of a message, so that ``physicalName`` names it.
    """
    name, kind = place["name"].value, _logical_type(place)
    if (reason := column_name_problem(name)) is not None:
        place["name"].refuse(f"{shown(name)}: {reason}")
    options = place["logicalTypeOptions"]
    for option, value in options.fields():
        if kind is not None and option not in OPTIONS[kind]:
            value.refuse(f"not supported for {kind}; {_valid_options(kind)}")
    if kind is None:
        return None
    sql_type = _sql_type(kind, options)
    extensions = read_extensions(place["customProperties"], COLUMN_EXTENSIONS)
    if in_message:
        reading = read_reading(place, name, kind, extensions)
    else:
        reading = Reading(name)
        _refuse_message(place, extensions)
    classification = place["classification"].value or ("internal" if reading.pii is None else "pii")
    if classification not in CLASSIFICATIONS:
        hint = f"must be {either(CLASSIFICATIONS)}"
        place["classification"].refuse(f"{shown(classification)}: {hint}")
    if place["unique"].value and not place["primaryKey"].value:
        place["unique"].refuse("is not enforced; write a quality rule: metric duplicateValues, mustBe 0")
    check = _value_check(kind, sql_type)
    minimum, maximum = _bound(options["minimum"], check), _bound(options["maximum"], check)
    shortest, longest = options["minLength"].value, options["maxLength"].value
    _check_order(options["maximum"], minimum, maximum)
    _check_order(options["maxLength"], shortest, longest)
    if kind in NESTED:
        _check_nested(place, kind, classification)
    unit = extensions.get("unit")
    return Column(
        name=name,
        source=reading.source,
        logical_type=kind,
        sql_type=sql_type,
        description=(place["description"].value or "").strip(),
        required=bool(place["required"].value or place["primaryKey"].value),
        unit=unit.value if unit else None,
        classification=classification,
        served=CLASSIFICATIONS.get(classification, False) and reading.pii is not Pii.DROP,
        examples=tuple(place["examples"].value or ()),
        enum=_enum(place["enum"], kind, check),
        minimum=minimum,
        maximum=maximum,
        min_length=shortest,
        max_length=longest,
        pattern=_pattern(options["pattern"]),
        zone=_zone(options, reading) if kind is LogicalType.TIMESTAMP else None,
        origin=reading.origin,
        path=reading.path,
        coercion=reading.coercion,
        time_format=reading.time_format,
        pii=reading.pii,
    )


def _refuse_message(place: Place, extensions: Mapping[str, Place]) -> None:
    """A mart has no messages, and so nothing that says how a value stands in one."""
    message = "only a source has fields of messages; a mart's column is what its SELECT names"
    if place["physicalName"].value is not None:
        place["physicalName"].refuse(message)
    for name in IN_MESSAGE:
        if name in extensions:
            extensions[name].refuse(message)


def _check_nested(place: Place, kind: LogicalType, classification: str) -> None:
    """Objects and arrays are stored whole; what the contract says of their insides is for readers."""
    if place["primaryKey"].value:
        place["primaryKey"].refuse(f"an {kind} cannot be part of the key; read a field in it by the property source")
    for inner in _insides(place):
        for named in ("primaryKey", "unique", "partitioned", "quality"):
            if inner[named].value:
                inner[named].refuse(
                    f"nothing within an {kind} is held to rules; read the field as a column of its own, "
                    "by the property source"
                )
        hidden = inner["classification"]
        if CLASSIFICATIONS.get(classification) and CLASSIFICATIONS.get(hidden.value, True) is False:
            hidden.refuse(
                f"{hidden.shown}: the {kind} is {classification} and served whole; classify it {hidden.value}"
            )


def _insides(place: Place) -> Iterator[Place]:
    for inner in (*place["properties"], *([place["items"]] if place["items"].value is not None else [])):
        yield inner
        yield from _insides(inner)


def _logical_type(place: Place) -> LogicalType | None:
    value = place["logicalType"].value
    if value in set(LogicalType):
        return LogicalType(value)
    place["logicalType"].refuse(f"{value} is not supported yet; must be {either(LogicalType)}")
    return None


def _valid_options(kind: LogicalType) -> str:
    return f"valid: {', '.join(OPTIONS[kind])}" if OPTIONS[kind] else "it has no options"


def _sql_type(kind: LogicalType, options: Place) -> str:
    fixed = {
        LogicalType.STRING: "text",
        LogicalType.BOOLEAN: "boolean",
        LogicalType.TIMESTAMP: "timestamptz",
        LogicalType.DATE: "date",
        LogicalType.OBJECT: "jsonb",
        LogicalType.ARRAY: "jsonb",
    }
    if kind in fixed:
        return fixed[kind]
    formats, default = (INTEGERS, "bigint") if kind is LogicalType.INTEGER else (NUMBERS, "double precision")
    chosen = options["format"]
    if chosen.value is not None and chosen.value not in formats:
        chosen.refuse(f"{chosen.shown} is not supported; must be {either(formats)} (without: {default})")
    return formats.get(chosen.value, default)


Check = Callable[[Any], str | None]  # why the value does not fit the column; None if it does


def _value_check(kind: LogicalType, sql_type: str) -> Check:
    def check(value: Any) -> str | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind is LogicalType.STRING:
            return None if isinstance(value, str) else "must be text; put it in quotes"
        if kind is LogicalType.INTEGER:
            limit = 1 << (INTEGER_BITS[sql_type] - 1)
            whole = isinstance(value, int) and number
            return None if whole and -limit <= value < limit else f"must be a whole number that fits {sql_type}"
        if kind is LogicalType.NUMBER:
            return None if number and isfinite(value) else "must be a finite number"
        if kind is LogicalType.DATE:
            return None if _is_date(value) else "must be a date such as 2013-01-31"
        return None if _is_instant(value) else "must be a timestamp with offset such as 2013-01-31T12:00:00Z"

    return check


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_instant(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _bound(place: Place, check: Check) -> float | str | None:
    if place.value is None:
        return None
    if (reason := check(place.value)) is not None:
        place.refuse(f"{place.shown}: {reason}")
        return None
    bound: float | str = place.value
    return bound


def _check_order(place: Place, low: Any, high: Any) -> None:
    if low is not None and high is not None and low > high:
        place.refuse(f"{shown(high)} is less than the {str(place.path[-1]).replace('max', 'min')}, {shown(low)}")


def _enum(place: Place, kind: LogicalType, check: Check) -> tuple[str | int | float, ...]:
    if place.value is not None and kind not in (LogicalType.STRING, LogicalType.INTEGER, LogicalType.NUMBER):
        place.refuse(f"not supported for {kind}; an enum needs string, integer or number")
        return ()
    values: list[str | int | float] = []
    for item in place:
        value = item["value"]
        if value.value is None:
            value.refuse("nothing is no value; leave required away for a column that may be null")
        elif (reason := check(value.value)) is not None:
            value.refuse(f"{value.shown}: {reason}")
        elif value.value in values:
            value.refuse(f"{value.shown} stands twice")
        else:
            values.append(value.value)
    return tuple(values)


def _pattern(place: Place) -> str | None:
    """The pattern, anchored, if Python (with re.ASCII) and RE2 both read it and read it alike."""
    if place.value is None:
        return None
    import pyarrow as pa  # here, for it takes a while and most commands need no patterns
    import pyarrow.compute as pc

    anchored = f"^(?:{place.value})$"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python warns of [[:alpha:]], which it reads otherwise than RE2
            re.compile(anchored, re.ASCII)
        pc.match_substring_regex(pa.nulls(1, pa.string()), pattern=anchored)  # array([""]) would import pandas
    except (re.error, FutureWarning, pa.ArrowInvalid) as error:
        place.refuse(f"{place.shown} is no regular expression that Python and RE2 both read: {error}")
        return None
    if "{," in place.value:
        place.refuse(f"{place.shown}: RE2 reads {{,n}} as text; write {{0,n}}")
    return anchored


@lru_cache(maxsize=1)
def _zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones()))


def _zone(options: Place, reading: Reading) -> str | None:
    carried, zone = options["timezone"], options["defaultTimezone"]
    if reading.is_instant and carried.value is False:
        carried.refuse("the values count from 1970 in UTC and have no zone; remove timezone and defaultTimezone")
        return None
    if carried.value is not False:
        if zone.value is not None:
            zone.refuse("applies only to values without zone; add timezone: false, or remove it")
        return None
    if zone.value is None:
        carried.refuse(
            "values without zone mean nothing by themselves; add defaultTimezone with the zone they are in, such as "
            "America/Bogota or UTC"
        )
    elif zone.value not in _zones():
        zone.refuse(f"{zone.shown} is no zone of the IANA time zone database; {did_you_mean(zone.value, _zones())}")
    return str(zone.value)
