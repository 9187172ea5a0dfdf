"""The contract's ``slaProperties``: freshness and retention drive something, the others are for readers."""

from datetime import timedelta
from typing import TypedDict

from pista.contracts.document import Place
from pista.contracts.durations import read_sla_duration
from pista.contracts.problems import did_you_mean

DRIVING = ("freshness", "retention")
DESCRIPTIVE = (  # the standard's list
    "availability",
    "endOfLife",
    "endOfSupport",
    "errorRate",
    "frequency",
    "generalAvailability",
    "latency",
    "throughput",
    "timeToDetect",
    "timeToNotify",
    "timeToRepair",
)


class Sla(TypedDict):
    """The fields of a Dataset that its SLA decides."""

    freshness: timedelta | None
    retention: timedelta | None


def read_sla(places: Place, name: str, no_retention: str | None) -> Sla:
    """Freshness (older is stale) and retention (of raw records); ``no_retention`` says why there can be none."""
    sla = Sla(freshness=None, retention=None)
    seen: set[str] = set()
    for place in places:
        kind, element = place["property"], place["element"]
        if kind.value not in (*DRIVING, *DESCRIPTIVE):
            kind.refuse(f"{kind.shown} is no SLA property; {did_you_mean(str(kind.value), (*DRIVING, *DESCRIPTIVE))}")
        if kind.value not in DRIVING:
            continue
        if kind.value in seen:
            kind.refuse(f"{kind.shown} stands twice")
        seen.add(kind.value)
        if element.value not in (None, name):
            element.refuse(f"{element.shown}: {kind.value} is that of the whole dataset; must be {name}, or absent")
        duration = read_sla_duration(place)
        if kind.value == "freshness":
            sla["freshness"] = duration
        elif no_retention is not None:
            kind.refuse(f"retention is that of raw records; {no_retention}")
        else:
            sla["retention"] = duration
    return sla
