"""``customProperties``: what the standard has no field for. docs/reference/contracts.md shows the same table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pista.contracts.document import Place
from pista.contracts.problems import did_you_mean

VENDOR = "pista"


@dataclass(frozen=True, slots=True)
class Extension:
    """One custom property that Pista reads."""

    name: str
    place: str  # "dataset": the contract's top level; "column": a property
    applies_to: str
    value: str
    meaning: str


EXTENSIONS = (
    Extension(
        "ordering", "dataset", "upsert sources", "name of a required column", "Says which event of a key is newer."
    ),
    Extension("managed", "dataset", "sources", "`true`", "Pista creates the topic."),
    Extension("partitions", "dataset", "managed sources", "1 to 1000; default 3", "Partitions of the created topic."),
    Extension(
        "compacted", "dataset", "managed upsert sources", "`true`", "The topic keeps the newest message of a key."
    ),
    Extension(
        "inputs",
        "dataset",
        "marts",
        "mapping of dataset to column, or to `null`",
        "What the SELECT reads, and its column that names the slice to rebuild; `null`: a change rebuilds nothing.",
    ),
    Extension(
        "cooldown", "dataset", "marts", "ISO 8601 duration such as `PT30S`", "Least time between two automatic builds."
    ),
    Extension("unit", "column", "every column", "UCUM code such as `min` or `[degF]`", "Unit of the values."),
)
DATASET_EXTENSIONS = tuple(e.name for e in EXTENSIONS if e.place == "dataset")
COLUMN_EXTENSIONS = tuple(e.name for e in EXTENSIONS if e.place == "column")


def read_extensions(place: Place, known: tuple[str, ...]) -> Mapping[str, Place]:
    """The values of Pista's custom properties by name. Those of another ``vendor`` are none of ours."""
    found: dict[str, Place] = {}
    for item in place:
        name = item["property"]
        if item.broken or item["vendor"].value not in (None, VENDOR):
            continue
        if name.value not in known:
            name.refuse(f"{name.shown} is no custom property here; {did_you_mean(name.value, known)}")
        elif name.value in found:
            name.refuse(f"{name.shown} stands twice")
        else:
            found[name.value] = item["value"]
    unit = found.get("unit")
    if unit is not None and (not isinstance(unit.value, str) or not unit.value):
        unit.refuse(f"{unit.shown}: must be a UCUM code such as min or [degF]")
        del found["unit"]
    return found


def misplaced_extensions(place: Place) -> Iterator[Place]:
    """Custom properties that stand where nobody reads them."""
    for key, value in place.fields():
        read_here = place.path == () or (len(place.path) == 4 and place.path[2] == "properties")
        if key == "customProperties" and not read_here:
            yield from (item for item in value if item["vendor"].value in (None, VENDOR))
        else:
            yield from misplaced_extensions(value)
    for item in place:
        yield from misplaced_extensions(item)
