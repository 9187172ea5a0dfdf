"""Fields that a contract does not know, counted over a sample: producers may be ahead of it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from pista.contracts.dataset import Dataset, Origin
from pista.ingest import debezium
from pista.ingest.places import Place, steps
from pista.kafka.records import Records

SAMPLE = 100  # records of a batch, evenly spread: some 0.2 ms
MOST_FIELDS = 100  # of a batch: values whose field names are data would fill the metadata

Known = dict[str, Any]  # field name -> what is known below it; None: all of it


def known_fields(dataset: Dataset) -> Known:
    """The fields that columns and filters of a contract read, as a tree."""
    known: Known = {}
    places: list[Place] = [*dataset.columns, *dataset.dropped, *dataset.where]
    for place in places:
        if place.origin is not Origin.VALUE:
            continue
        *parents, last = _names(steps(place))
        below: Known | None = known
        for name in parents:
            below = None if below is None else below.setdefault(name, {})
        if below is not None:
            below[last] = None
    return known


def _names(way: tuple[str | int, ...]) -> list[str]:
    """The names of a way up to the first array, whose elements are not looked into."""
    names: list[str] = []
    for step in way:
        if isinstance(step, int):
            break
        names.append(step)
    return names


def count_unknown(dataset: Dataset, known: Known, records: Records) -> Mapping[str, int]:
    """In how many records of a sample each unknown field stands, by its path; values that are no JSON have none."""
    counts: Counter[str] = Counter()
    step = max(1, len(records) // SAMPLE)
    for value in records.values[::step]:
        try:
            document = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            continue
        if dataset.debezium and isinstance(document, dict):
            event = debezium.envelope(document)
            document = event.get("after") if isinstance(event, dict) else None
        if isinstance(document, dict):
            counts.update(_unknown(document, known, ""))
    return dict(counts.most_common(MOST_FIELDS))


def _unknown(document: Mapping[str, Any], known: Known, above: str) -> list[str]:
    found = []
    for name, value in document.items():
        if name not in known:
            found.append(above + name)
        elif known[name] is not None and isinstance(value, dict):
            found += _unknown(value, known[name], f"{above}{name}.")
    return found
