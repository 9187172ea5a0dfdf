"""What the values of a sampled field are: a type, the form they are written in, and how sure that is."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import product
from math import isfinite
from typing import Any

from pista.contracts.dataset import Coercion, LogicalType
from pista.contracts.sampled import Field, is_few, is_writable

DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?", re.ASCII)
OFFSET_TIME = re.compile(LOCAL_TIME.pattern + r"(Z|[+-]\d{2}:?\d{2})", re.ASCII)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)  # as JSON writes them
TRUTHS = {"true", "false"}
COMPACT_DATE = re.compile(r"(19|20)\d{6}", re.ASCII)
FORMATTED = re.compile(r"(?=(.*\d){3})[A-Za-z0-9 ,./:+-]{6,40}", re.ASCII)
COMPACT_TIME = re.compile(r"(19|20)\d{12}", re.ASCII)

IDENTITY = re.compile(r"(.+_)?id|id_.+")
# digits that are names: nobody adds them up, and a leading zero counts
CODE_NAME = re.compile(r"(.*_)?(code|zip|postal|phone|tel|mobile|number|no|num|ref|pnr|nit|document|passport)(_.*)?")
TIME_NAME = re.compile(
    r"(.*_)?(at|on|ts|time|timestamp|date|datetime|epoch|created|updated|modified|since|until|expires"
    r"|fecha|hora|momento)(_.*)?"
)
DAY_NAME = re.compile(r"(.*_)?(date|day|on|fecha|dia)(_.*)?")
PERSONAL_NAME = re.compile(
    r"(.*_)?(e?mail|phone|mobile|passport|ssn|birth|dob|first_name|last_name|full_name|surname|iban)(_.*)?"
)

EPOCHS = {  # units a second
    Coercion.EPOCH_S: 1,
    Coercion.EPOCH_MS: 1_000,
    Coercion.EPOCH_US: 1_000_000,
    Coercion.EPOCH_NS: 1_000_000_000,
}
DECLARED = {  # of Connect and Debezium: what their numbers count
    "org.apache.kafka.connect.data.Date": Coercion.EPOCH_DAYS,
    "org.apache.kafka.connect.data.Timestamp": Coercion.EPOCH_MS,
    "io.debezium.time.Date": Coercion.EPOCH_DAYS,
    "io.debezium.time.Timestamp": Coercion.EPOCH_MS,
    "io.debezium.time.MicroTimestamp": Coercion.EPOCH_US,
    "io.debezium.time.NanoTimestamp": Coercion.EPOCH_NS,
}
FIRST_PLAUSIBLE = 946_684_800  # 2000-01-01, in seconds since 1970
LAST_PLAUSIBLE = 4_102_444_800  # 2100-01-01
SECONDS_A_DAY = 86_400

TYPE_NAMES = {
    dict: "object", list: "array", str: "text", int: "whole number", float: "number", bool: "true or false"
}  # fmt: skip
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%d/%m/%y", "%m/%d/%y",
        "%d %b %Y", "%d-%b-%Y", "%d%b%Y", "%d%b%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")  # fmt: skip
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
ZONES = ("", " %z", "%z")
TWINS = {"%d/%m": "%m/%d", "%d-%m": "%m-%d"}
LOCAL = "{timezone: false, defaultTimezone: UTC}"
CHECK_ZONE = "values carry no zone: CHECK that they are UTC, else write their zone, such as America/Bogota"
CHECK_LOCAL = "CHECK: Debezium writes times without zone of the database as if they were UTC"


@dataclass(frozen=True, slots=True)
class Guess:
    """What a column would say, or why there can be none."""

    kind: LogicalType = LogicalType.STRING
    options: str = ""  # logicalTypeOptions
    comment: str = ""
    coerce: Coercion | None = None
    form: str | None = None  # strptime
    blank: bool = False  # an empty text stands for nothing
    refused: str | None = None


def guess(f: Field, debezium: bool = False) -> Guess:
    """The narrowest type that takes every sampled value."""
    kinds = f.kinds()
    if refused := _refused(f, kinds):
        return Guess(refused=refused)
    if kinds == {dict}:
        return Guess(LogicalType.OBJECT, comment="stored whole, as JSON")
    if kinds == {list}:
        return Guess(LogicalType.ARRAY, comment="stored whole, as JSON")
    if kinds == {bool}:
        return Guess(LogicalType.BOOLEAN)
    if kinds <= {int, float}:
        kind = LogicalType.INTEGER if kinds == {int} else LogicalType.NUMBER
        return _epoch(f, f.values, debezium) or Guess(kind)
    if kinds != {str}:
        return _written(f, debezium) or Guess(refused=_mixed(f))
    return _in_key([*f.values, *f.deleted]) if f.position else _text(f, debezium)


def is_personal(f: Field) -> bool:
    """Whether values look like addresses of people, or the name says that they are somebody's."""
    if f.kinds() & {dict, list}:
        return any(map(_holds_address, f.values))
    by_name = PERSONAL_NAME.fullmatch(f.name) is not None
    if f.kinds() != {str}:
        return False
    others = sum(EMAIL.fullmatch(value) is None for value in f.values)
    return by_name or not others or is_few(others, len(f.values))


def _holds_address(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_address, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and EMAIL.fullmatch(value) is not None


def _refused(f: Field, kinds: set[type]) -> str | None:
    if not f.values:
        return "it is null in every sampled record"
    if not all(is_writable(step) for step in f.steps if isinstance(step, str)):
        return "its name holds nothing, or what cannot be printed"
    if len(kinds) > 1 and kinds & {dict, list}:
        return _mixed(f)
    if kinds <= {int, float}:
        if not all(map(isfinite, f.values)):
            return "a number in it is too large"
        if kinds == {int} and not all(map(fits, f.values)):
            return "its numbers do not fit 64 bits"
    if any(map(holds_null_character, f.values)):
        return "a text in it holds a null character, which PostgreSQL cannot store"
    return None


def fits(value: int) -> bool:
    """Whether a column of integers can hold it."""
    return -(1 << 63) <= value < 1 << 63


def holds_null_character(value: Any) -> bool:
    """Whether a text, or one within it, holds what PostgreSQL cannot store."""
    if isinstance(value, dict):
        return any("\x00" in name or holds_null_character(inner) for name, inner in value.items())
    if isinstance(value, list):
        return any(map(holds_null_character, value))
    return isinstance(value, str) and "\x00" in value


def _mixed(f: Field) -> str:
    counts = Counter(TYPE_NAMES[type(value)] for value in f.values)
    return f"its values are of several types ({', '.join(f'{n} {name}' for name, n in counts.most_common())})"


def _epoch(f: Field, values: list[Any], debezium: bool) -> Guess | None:
    """Numbers that are instants: by their schema, or by their size if the name does not say otherwise."""
    if f.position or IDENTITY.fullmatch(f.name) or CODE_NAME.fullmatch(f.name):
        return None
    whole = all(isinstance(value, int) for value in values)
    known = DECLARED.get(f.declared or "")
    if known is Coercion.EPOCH_DAYS and whole:
        return Guess(LogicalType.DATE, coerce=known, comment="its schema says so")
    if known is not None and whole:
        return Guess(LogicalType.TIMESTAMP, coerce=known, comment=CHECK_LOCAL if debezium else "its schema says so")
    for coercion, unit in EPOCHS.items():
        plausible = all(FIRST_PLAUSIBLE * unit <= value < LAST_PLAUSIBLE * unit for value in values)
        # ten digits are many things
        if plausible and (TIME_NAME.fullmatch(f.name) or (whole and coercion is not Coercion.EPOCH_S)):
            first = datetime.fromtimestamp(min(values) / unit, UTC)
            check = CHECK_LOCAL if debezium else f"CHECK: a guess by the size of the numbers, from {first:%Y-%m-%d} on"
            return Guess(LogicalType.TIMESTAMP, coerce=coercion, comment=check)
    days = all(FIRST_PLAUSIBLE <= value * SECONDS_A_DAY < LAST_PLAUSIBLE for value in values)
    if debezium and whole and days and DAY_NAME.fullmatch(f.name):
        return Guess(
            LogicalType.DATE, coerce=Coercion.EPOCH_DAYS, comment="CHECK: a guess that these are days since 1970"
        )
    return None


def _written(f: Field, debezium: bool) -> Guess | None:
    """Numbers or truths of which some or all are written as text."""
    texts = [value for value in f.values if isinstance(value, str) and value]
    others = [value for value in f.values if not isinstance(value, str)]
    blank = len(texts) + len(others) < len(f.values)
    if not texts or CODE_NAME.fullmatch(f.name) or (IDENTITY.fullmatch(f.name) and not others):
        return None
    comment = "CHECK: all sampled texts hold one; if they are names of something, make it a string without coerce"
    if all(text in TRUTHS for text in texts) and all(isinstance(value, bool) for value in others):
        return Guess(LogicalType.BOOLEAN, coerce=Coercion.TEXT, comment=comment, blank=blank)
    if not all(map(NUMBER.fullmatch, texts)) or any(isinstance(value, bool) for value in others):
        return None
    numbers = [*others, *(float(text) if re.search("[.eE]", text) else int(text) for text in texts)]
    if not all(isinstance(number, int) or isfinite(number) for number in numbers):
        return None
    integers = [number for number in numbers if isinstance(number, int)]
    if not all(map(fits, integers)):
        return None
    if instant := _epoch(f, numbers, debezium):
        return Guess(instant.kind, comment=instant.comment, coerce=instant.coerce, blank=blank)
    kind = LogicalType.INTEGER if len(integers) == len(numbers) else LogicalType.NUMBER
    return Guess(kind, coerce=Coercion.TEXT, comment=comment, blank=blank)


def _text(f: Field, debezium: bool) -> Guess:
    return _iso(f.values) or _by_format(f.values) or _written(f, debezium) or Guess()


def _in_key(texts: list[str]) -> Guess:
    """Keys stay as they are written, but for days: a time has more than one spelling."""
    return Guess(LogicalType.DATE if all_texts(texts, DATE.fullmatch, date.fromisoformat) else LogicalType.STRING)


def _iso(texts: list[str]) -> Guess | None:
    if all_texts(texts, DATE.fullmatch, date.fromisoformat):
        return Guess(LogicalType.DATE)
    if all_texts(texts, OFFSET_TIME.fullmatch, instant):
        return Guess(LogicalType.TIMESTAMP)
    if all_texts(texts, LOCAL_TIME.fullmatch, datetime.fromisoformat):
        return Guess(LogicalType.TIMESTAMP, LOCAL, f"its {CHECK_ZONE}")
    return None


def _by_format(texts: list[str]) -> Guess | None:
    """Dates and times of a common form that is not ISO 8601."""
    if all_texts(texts, COMPACT_DATE.fullmatch, _parser("%Y%m%d")):
        return Guess(LogicalType.DATE, form="%Y%m%d", comment="CHECK: a guess that these digits are days")
    if all_texts(texts, COMPACT_TIME.fullmatch, _parser("%Y%m%d%H%M%S")):
        return Guess(LogicalType.TIMESTAMP, LOCAL, f"its {CHECK_ZONE}", form="%Y%m%d%H%M%S")
    if not FORMATTED.fullmatch(texts[0]):  # most texts need no look at two hundred forms
        return None
    for day in DAYS:
        if all_texts(texts, None, _parser(day)):
            return Guess(LogicalType.DATE, form=day, comment=_order(texts, day, day))
    for day, clock, zone in product(DAYS, TIMES, ZONES):
        form = f"{day} {clock}{zone}"
        if all_texts(texts, None, _parser(form)):
            order = _order(texts, day, form)
            comment = "; ".join(filter(None, ["" if zone else f"its {CHECK_ZONE}", order]))
            return Guess(LogicalType.TIMESTAMP, "" if zone else LOCAL, comment, form=form)
    return None


def _order(texts: list[str], day: str, form: str) -> str:
    """What to check where days and months could have changed places."""
    for first, second in TWINS.items():
        if day.startswith(first) and all_texts(texts, None, _parser(form.replace(first, second))):
            return f"CHECK that the day comes first: {form.replace(first, second)} fits all sampled values too"
    return ""


def _parser(form: str) -> Callable[[str], object]:
    def parse(text: str) -> object:
        moment = datetime.strptime(text, form)  # noqa: DTZ007 - only whether it can be read
        return moment.astimezone(UTC) if moment.tzinfo else moment

    return parse


def instant(text: str) -> object:
    """The time that the text says; one that has no day in UTC raises OverflowError."""
    return datetime.fromisoformat(text).astimezone(UTC)


def all_texts(texts: list[str], matches: Callable[[str], object] | None, parse: Callable[[str], object]) -> bool:
    """Whether all texts have the form, and can be parsed."""
    try:
        return all((matches is None or matches(text)) and parse(text) for text in texts)
    except (ValueError, OverflowError):
        return False
