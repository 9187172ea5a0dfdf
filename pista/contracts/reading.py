"""How a column's value is had from a record: from which place, and out of which form."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pista.contracts.dataset import Coercion, LogicalType, Origin, Pii
from pista.contracts.document import Place
from pista.contracts.paths import Source, parse_source
from pista.contracts.problems import either

EPOCHS = (Coercion.EPOCH_S, Coercion.EPOCH_MS, Coercion.EPOCH_US, Coercion.EPOCH_NS)
TEXT_COERCED = (LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.BOOLEAN)
NESTED = (LogicalType.OBJECT, LogicalType.ARRAY)
RECORD_TYPES = {
    "timestamp": LogicalType.TIMESTAMP,
    "topic": LogicalType.STRING,
    "partition": LogicalType.INTEGER,
    "offset": LogicalType.INTEGER,
}
# of strptime, those that Python reads alike on every machine
DIRECTIVES = "YymdjHIMSfpbBz%"
DAY_FORMS = ({"d", "m"}, {"d", "b"}, {"d", "B"}, {"j"})
IN_MESSAGE = ("source", "coerce", "format", "pii")


@dataclass(frozen=True, slots=True)
class Reading:
    """The fields of a Column that say how its value is had."""

    source: str
    origin: Origin = Origin.VALUE
    path: tuple[str | int, ...] = ()
    coercion: Coercion | None = None
    time_format: str | None = None
    pii: Pii | None = None

    @property
    def place(self) -> Source:
        """Where the value stands."""
        return Source(self.source, self.origin, self.path)

    @property
    def is_instant(self) -> bool:
        """Whether the values are instants by themselves, and have no zone to be told."""
        return self.coercion in EPOCHS or self.origin is Origin.RECORD


def read_reading(place: Place, name: str, kind: LogicalType, extensions: Mapping[str, Place]) -> Reading:
    """What a column of a source says about its place in a record."""
    source = _source(place, name, extensions.get("source"))
    coercion = _coercion(kind, extensions.get("coerce"))
    time_format = _time_format(place, kind, extensions.get("format"))
    if coercion is not None and time_format is not None:
        extensions["format"].refuse("a value is either text of this format or what coerce says; remove one of the two")
    _check_origin(place, kind, source, extensions)
    return Reading(source.text, source.origin, source.path, coercion, time_format, _pii(place, kind, extensions))


def _source(place: Place, name: str, path: Place | None) -> Source:
    physical = place["physicalName"]
    whole = Source(physical.value if physical.value is not None else name, Origin.VALUE, ())
    if path is None:
        return whole
    if physical.value is not None:
        physical.refuse("the custom property source says already where the value stands; remove one of the two")
    return parse_source(path.value, path) or whole


def _check_origin(place: Place, kind: LogicalType, source: Source, extensions: Mapping[str, Place]) -> None:
    is_text = source.origin is Origin.HEADER or (source.origin is Origin.KEY and not source.path)
    what = "a header" if source.origin is Origin.HEADER else "a key as a whole"
    if is_text and kind in NESTED:
        way = "" if source.origin is Origin.HEADER else ", or key.NAME with a path into it"
        place["logicalType"].refuse(f"{what} is text and cannot be {kind}; must be string{way}")
    elif is_text and kind in TEXT_COERCED and "coerce" not in extensions:
        place["logicalType"].refuse(f"{what} is text; add the custom property coerce: text to read it as {kind}")
    if source.origin is Origin.RECORD:
        wanted = RECORD_TYPES[str(source.path[0])]
        if kind is not wanted:
            place["logicalType"].refuse(f"{source.text} is {wanted}, not {kind}")
        for other in ("coerce", "format"):
            if other in extensions:
                extensions[other].refuse(f"{source.text} comes from the broker and needs no {other}; remove it")
        if place["primaryKey"].value:
            place["primaryKey"].refuse(
                f"{source.text} is no key; without primaryKey anywhere, every record is a row of its own"
            )


def _coercion(kind: LogicalType, place: Place | None) -> Coercion | None:
    if place is None:
        return None
    if not isinstance(place.value, str) or place.value not in set(Coercion):
        hint = "; a date format is the custom property format" if isinstance(place.value, dict) else ""
        place.refuse(f"{place.shown}: must be {either(Coercion)}{hint}")
        return None
    coercion = Coercion(place.value)
    if coercion is Coercion.TEXT:
        fitting: tuple[LogicalType, ...] = TEXT_COERCED
    else:
        fitting = (LogicalType.DATE,) if coercion is Coercion.EPOCH_DAYS else (LogicalType.TIMESTAMP,)
    if kind not in fitting:
        place.refuse(f"{coercion} makes {either(fitting)}; the column is {kind}")
    return coercion


def _time_format(place: Place, kind: LogicalType, form: Place | None) -> str | None:
    if form is None:
        return None
    if kind not in (LogicalType.TIMESTAMP, LogicalType.DATE):
        form.refuse(f"only a timestamp or a date has a format; the column is {kind}")
    elif not isinstance(form.value, str) or (reason := _format_problem(form.value, kind)) is not None:
        text = "must be a strptime format" if not isinstance(form.value, str) else reason
        form.refuse(f"{form.shown}: {text}, such as {'%d/%m/%Y' if kind is LogicalType.DATE else '%d/%m/%Y %H:%M'}")
    elif kind is LogicalType.TIMESTAMP:
        carries, local = "%z" in form.value, place["logicalTypeOptions"]["timezone"].value is False
        if carries and local:
            place["logicalTypeOptions"]["timezone"].refuse(
                "the format reads an offset (%z), so the values carry one; remove timezone: false"
            )
        elif not carries and not local:
            form.refuse(
                f"{form.shown} has no %z, so its values carry no zone; add logicalTypeOptions: "
                "{timezone: false, defaultTimezone: America/Bogota} with the zone they are in"
            )
    return form.value if isinstance(form.value, str) else None


def _format_problem(form: str, kind: LogicalType) -> str | None:
    """Why values of this format cannot be read as dates or timestamps; None if they can."""
    used = re.findall(r"%(.?)", form, re.DOTALL)
    unknown = [letter for letter in used if letter not in DIRECTIVES or not letter]
    if unknown:
        return f"%{unknown[0]} is not supported; valid: {' '.join(f'%{letter}' for letter in DIRECTIVES)}"
    letters = [letter for letter in used if letter != "%"]
    if twice := [letter for letter in letters if letters.count(letter) > 1]:
        return f"%{twice[0]} stands twice"
    have = set(letters)
    if len(have & {"Y", "y"}) != 1 or not any(form <= have for form in DAY_FORMS) or len(have & set("mbBj")) > 1:
        return "must hold one year (%Y or %y) and one day of it (%d with %m, %b or %B; or %j)"
    clock = have & set("HIMSfpz")
    if kind is LogicalType.DATE:
        return f"a date has no time of day; remove %{min(clock)}, or make it a timestamp" if clock else None
    if not ({"H"} <= have or {"I", "p"} <= have) or {"H", "I"} <= have or ("p" in have) != ("I" in have):
        return "a timestamp needs one hour of the day (%H; or %I with %p)"
    if ("S" in have and "M" not in have) or ("f" in have and "S" not in have):
        return "seconds (%S) need minutes (%M), and parts of a second (%f) need seconds"
    moment = datetime(2013, 12, 31, 23, 0, tzinfo=UTC)
    try:
        again = datetime.strptime(moment.strftime(form), form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        again = None
    return None if again is not None and again.replace(tzinfo=UTC) == moment else "its parts run into each other"


def _pii(place: Place, kind: LogicalType, extensions: Mapping[str, Place]) -> Pii | None:
    pii, classification = extensions.get("pii"), place["classification"]
    if pii is None:
        return None
    if not isinstance(pii.value, str) or pii.value not in set(Pii):
        pii.refuse(f"{pii.shown}: must be {either(Pii)}")
        return None
    if pii.value == Pii.DROP:
        if place["primaryKey"].value:
            place["primaryKey"].refuse("a dropped value cannot be part of the key; with pii: hash its hash can be")
        if classification.value in ("public", "internal"):
            classification.refuse(
                f"{classification.shown}: nothing of a dropped value is stored; must be pii, or absent"
            )
        for quality in place["quality"]:
            quality.refuse("the value is dropped, so there is no column that a rule could measure")
    elif kind is not LogicalType.STRING:
        place["logicalType"].refuse(f"pii: hash stores text, so the column must be string, not {kind}; or drop it")
    else:
        for named in ("enum", "examples"):
            if place[named].value is not None:
                place[named].refuse("would publish values that pii: hash is to hide; remove it")
    return Pii(pii.value)
