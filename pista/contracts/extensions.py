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
    Extension(
        "framing",
        "dataset",
        "sources",
        "`none` (default), `confluent` or `glue`",
        "Which registry the schema of a message is in.",
    ),
    Extension("envelope", "dataset", "upsert sources", "`debezium`", "Values are change events; the row is in them."),
    Extension(
        "where",
        "dataset",
        "sources",
        "mapping of source to value or list of values",
        "Records for which not all hold belong to others: counted, not stored.",
    ),
    Extension(
        "start",
        "dataset",
        "sources",
        "`earliest` (default), `latest`, or a time with offset",
        "Where the first drain begins.",
    ),
    Extension(
        "merge",
        "dataset",
        "upsert sources",
        "`replace` (default) or `patch`",
        "`patch`: fields that an event lacks keep their value.",
    ),
    Extension("raw", "dataset", "sources", "`false`", "Loaded records are not kept in `raw`."),
    Extension(
        "quarantine_share",
        "dataset",
        "sources",
        "0 to 1; default 0.5",
        "More of a batch than this in quarantine stops the dataset.",
    ),
    Extension(
        "parallelism", "dataset", "sources", "1 (default) to 64", "Drains at once, each with partitions of its own."
    ),
    Extension(
        "drain_group",
        "dataset",
        "sources without `parallelism`",
        "snake_case; default `default`",
        "Datasets of one group share a drain run.",
    ),
    Extension(
        "source",
        "column",
        "columns of sources",
        "path such as `flight.legs[0].id`",
        "Where the value stands, if it is no field at the top of the message's value.",
    ),
    Extension(
        "coerce",
        "column",
        "columns of sources",
        "`text`, `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns` or `epoch_days`",
        "The form that the values have instead of the column's type.",
    ),
    Extension(
        "format",
        "column",
        "dates and timestamps of sources",
        "strptime format such as `%d/%m/%Y %H:%M`",
        "The form of dates and times that are not ISO 8601.",
    ),
    Extension(
        "pii",
        "column",
        "columns of sources",
        "`drop` or `hash`",
        "What becomes of a personal value before it is stored.",
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


def extension(place: Place, name: str) -> Place | None:
    """The value of one of Pista's custom properties, whatever else is wrong with them; None if it is not there."""
    items = (item for item in place["customProperties"] if item["vendor"].value in (None, VENDOR))
    return next((item["value"] for item in items if item["property"].value == name), None)


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
