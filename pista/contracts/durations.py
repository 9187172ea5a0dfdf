"""Lengths of time as contracts write them."""

import re
from datetime import timedelta

from pista.contracts.document import Place
from pista.contracts.problems import either

UNITS = {
    "d": ("d", "day", "days"),
    "h": ("h", "hr", "hour", "hours"),
    "m": ("m", "min", "minute", "minutes"),
    "s": ("s", "sec", "second", "seconds"),
}
SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
ISO_8601 = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?\Z")


def read_iso_duration(place: Place) -> timedelta | None:
    """An ISO 8601 duration of days, hours, minutes and seconds, such as ``PT30S`` or ``P1DT12H``."""
    match = ISO_8601.match(place.value) if isinstance(place.value, str) else None
    if match is None or not any(match.groups()):
        place.refuse(f"{place.shown} is no ISO 8601 duration of days to seconds, such as PT30S, PT5M or P1D")
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def read_sla_duration(place: Place) -> timedelta | None:
    """Value and unit of an SLA property; months and years are refused, for they have no fixed length."""
    value, unit = place["value"], place["unit"]
    known = {name: letter for letter, names in UNITS.items() for name in names}
    if unit.value not in known:
        wrong = unit if unit.value is not None else place
        wrong.refuse(f"unit {unit.shown}: must be {either(UNITS)} (or day, hour, minute, second)")
        return None
    number = isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if not number or not 0 < value.value * SECONDS[known[unit.value]] < 1e10:
        value.refuse(f"{value.shown}: must be a number above 0")
        return None
    return timedelta(seconds=value.value * SECONDS[known[unit.value]])
