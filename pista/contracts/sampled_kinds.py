"""Whether a sampled topic mixes several kinds of records, and which field tells them apart."""

import json
from collections.abc import Sequence

from pista.contracts.dataset import Origin
from pista.contracts.paths import write_source
from pista.contracts.sampled import Field, Sample

MAX_KINDS = 10
MIN_OCCURRENCES = 3  # of each kind; fewer tell nothing of its fields


def kinds_note(fields: Sequence[Field], sample: Sample) -> str | None:
    """A sentence on the field whose values decide which other fields there are; None if there is no such field."""
    for f in fields:
        kinds = _kinds(f, sample)
        if kinds is not None:
            source = write_source(f.steps)
            chosen = json.dumps({source: next(iter(kinds))}, ensure_ascii=False)
            found = ", ".join(f"{value} ({count})" for value, count in kinds.items())
            return (
                f"Messages are of several kinds, told apart by {source}: {found}. To keep one of them, add to "
                f"customProperties: {{property: where, value: {chosen}}}"
            )
    return None


def _kinds(f: Field, sample: Sample) -> dict[str, int] | None:
    """How often each value came, if two of them come with fields that the other never has."""
    if f.origin is not Origin.VALUE or f.kinds() != {str} or len(f.values) != len(sample.rows):
        return None
    if not all(value.isprintable() and value.isascii() and value.isalnum() for value in set(f.values)):
        return None
    names: dict[str, list[set[str]]] = {}
    for value, (_, row) in zip(f.values, sample.rows, strict=True):
        names.setdefault(value, []).append({name for name, inner in row.items() if inner is not None})
    if not 2 <= len(names) <= MAX_KINDS or min(map(len, names.values())) < MIN_OCCURRENCES:
        return None
    always = {value: set.intersection(*found) for value, found in names.items()}
    ever = {value: set.union(*found) for value, found in names.items()}
    apart = any(always[one] - ever[other] for one in names for other in names if one != other)
    return {value: len(found) for value, found in names.items()} if apart else None
