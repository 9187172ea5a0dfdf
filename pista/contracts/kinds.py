"""What a source and a mart have of their own: topic, order and key; inputs and slices."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from pista.contracts import topic
from pista.contracts.dataset import Column, Kind, LogicalType, MartInput, Pii
from pista.contracts.document import Place
from pista.contracts.durations import read_iso_duration
from pista.contracts.names import TOPIC
from pista.contracts.problems import did_you_mean, either

SOURCE_ONLY = ("ordering", "managed", "partitions", "compacted", *topic.SOURCE_ONLY)
MART_ONLY = ("inputs", "cooldown")
ORDERING_TYPES = (LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.TIMESTAMP, LogicalType.DATE)
SLICE_TYPES = (LogicalType.DATE, LogicalType.INTEGER, LogicalType.STRING, LogicalType.TIMESTAMP)
DEFAULT_PARTITIONS = 3
MAX_PARTITIONS = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """The contract's one schema element, and its columns by name (None: could not be read)."""

    place: Place
    columns: Mapping[str, Column | None]

    def check_served(self, name: str, role: str) -> None:
        """A column whose values show elsewhere (in keys, cursors, slices) cannot be one that is not served."""
        column = self.columns.get(name)
        if column is not None and not column.served and column.pii is not Pii.DROP:
            hashed = column.pii is Pii.HASH and role == "part of the key"
            way = "; with classification: internal its hash is served, and can" if hashed else ""
            place = next(p for p in self.place["properties"] if p["name"].value == name)
            place["classification"].refuse(f"a {column.classification} column is not served and cannot be {role}{way}")


class Body(topic.TopicReading, total=False):
    """The fields of a Dataset that its kind decides."""

    kind: Kind
    key: tuple[str, ...]
    topic: str | None
    partitions: int | None
    compacted: bool
    ordering: str | None
    slice_column: str | None
    inputs: tuple[MartInput, ...]
    cooldown: timedelta


def read_source(table: Table, root: Place, extensions: Mapping[str, Place]) -> Body:
    """A dataset whose rows come from a topic."""
    _refuse_all(extensions, MART_ONLY, "belongs to marts; this dataset is a source")
    for place in table.place["properties"]:
        if place["partitioned"].value:
            place["partitioned"].refuse("only a mart has slices; this dataset is a source")
    named = table.place["physicalName"]
    if named.value is None:
        table.place.refuse("the field physicalName is missing: it names the topic")
    elif not TOPIC.match(named.value) or named.value in (".", ".."):
        named.refuse(f"{named.shown} is no name of a topic: 1 to 249 letters, digits, dots, dashes or underscores")
    key = _read_key(table)
    managed = _flag(extensions, "managed")
    partitions, compacted = extensions.get("partitions"), _flag(extensions, "compacted")
    if not managed:
        _refuse_all(extensions, ("partitions", "compacted"), "applies to a topic that Pista makes; add managed: true")
    elif compacted and not key:
        extensions["compacted"].refuse("needs a primaryKey, for compaction keeps the newest message of a key")
    if partitions is not None and not (type(partitions.value) is int and 1 <= partitions.value <= MAX_PARTITIONS):
        partitions.refuse(f"{partitions.shown}: must be a whole number from 1 to {MAX_PARTITIONS}")
        partitions = None
    count = partitions.value if partitions else DEFAULT_PARTITIONS
    made = count if managed else None
    servers = [server for server in root["servers"] if server["type"].value == "kafka"]
    reading = topic.read_topic(str(root["name"].value), servers, key, made, extensions)
    if reading["debezium"] and "where" in extensions:
        topic.check_mirror(table.columns, key, reading["where"], extensions["where"])
    topic.check_places(table.place["properties"], table.columns, reading["where"], extensions.get("where"))
    return Body(
        kind=Kind.UPSERT if key else Kind.APPEND,
        key=key,
        topic=named.value,
        partitions=made,
        compacted=compacted,
        ordering=_read_ordering(table, extensions.get("ordering"), key),
        slice_column=None,
        inputs=(),
        cooldown=timedelta(0),
        **reading,
    )


def read_mart(table: Table, root: Place, extensions: Mapping[str, Place]) -> Body:
    """A dataset derived from others. That its inputs exist and fit is checked when all contracts are read."""
    _refuse_all(extensions, SOURCE_ONLY, "belongs to sources; this dataset is a mart")
    if table.place["physicalName"].value is not None:
        table.place["physicalName"].refuse("names the topic of a source; this dataset is a mart")
    key = _read_key(table)
    if not key:
        table.place.refuse("a mart needs a key: primaryKey: true on the columns that tell its rows apart")
    slices = [place for place in table.place["properties"] if place["partitioned"].value]
    if len(slices) != 1:
        names = either(place["name"].value for place in slices) if slices else "none"
        table.place.refuse(f"a mart has exactly one column with partitioned: true, its slice; here: {names}")
    slice_column = slices[0]["name"].value if slices else None
    column = table.columns.get(slice_column or "")
    if slice_column and key and slice_column not in key:
        slices[0]["partitioned"].refuse("the slice must be part of the key, so that no row is in two slices")
    if column is not None and column.logical_type not in SLICE_TYPES:
        slices[0]["logicalType"].refuse(f"{column.logical_type} cannot be a slice; must be {either(SLICE_TYPES)}")
    if slice_column is not None:
        table.check_served(slice_column, "a slice")
    cooldown = extensions.get("cooldown")
    return Body(
        kind=Kind.MART,
        key=key,
        slice_column=slice_column,
        inputs=_read_inputs(root, extensions.get("inputs")),
        cooldown=(read_iso_duration(cooldown) if cooldown else None) or timedelta(0),
    )


def _read_key(table: Table) -> tuple[str, ...]:
    """Key columns in the order of their positions; columns that say none stay in the order of the file."""
    places = [place for place in table.place["properties"] if place["primaryKey"].value]
    for place in table.place["properties"]:
        if place["primaryKeyPosition"].value not in (None, -1) and not place["primaryKey"].value:
            place["primaryKeyPosition"].refuse("only a column with primaryKey: true has a position in the key")
    for place in places:
        table.check_served(place["name"].value, "part of the key")
    positions = [place["primaryKeyPosition"].value for place in places]
    if len(places) > 1 or (places and positions[0] is not None):
        valid = list(range(1, len(places) + 1))
        for index, place in enumerate(places):
            if positions[index] not in valid or positions[index] in positions[:index]:
                place["primaryKeyPosition"].refuse(
                    f"{place['primaryKeyPosition'].shown}: the {len(places)} key columns have the positions "
                    f"1 to {len(places)}, each once"
                    if len(places) > 1
                    else f"{place['primaryKeyPosition'].shown}: the only key column has position 1"
                )
                return tuple(place["name"].value for place in places)
        places.sort(key=lambda place: int(place["primaryKeyPosition"].value))
    return tuple(place["name"].value for place in places)


def _read_ordering(table: Table, place: Place | None, key: tuple[str, ...]) -> str | None:
    if place is None:
        return None
    if not key:
        place.refuse("only an upsert source has an order among the events of a key; this one has no primaryKey")
    elif place.value not in table.columns:
        place.refuse(f"{place.shown} is no column; {did_you_mean(str(place.value), list(table.columns))}")
    elif (column := table.columns[place.value]) is not None:
        if column.logical_type not in ORDERING_TYPES:
            place.refuse(f"the column is {column.logical_type}; must be {either(ORDERING_TYPES)}")
        if not column.required:
            place.refuse("the column may be null, and null has no order; it needs required: true")
        table.check_served(place.value, "the ordering")
    return str(place.value)


def _read_inputs(root: Place, place: Place | None) -> tuple[MartInput, ...]:
    if place is None:
        root["customProperties"].refuse("a mart needs the custom property inputs: what it reads, and by which slice")
        return ()
    if not isinstance(place.value, dict) or not place.value:
        place.refuse(f"{place.shown}: must be a mapping of dataset to column or null, such as {{flights: flight_date}}")
        return ()
    for name, column in place.fields():
        if column.value is not None and not isinstance(column.value, str):
            column.refuse(f"{column.shown}: must name a column of {name}, or be null")
    if all(column is None for column in place.value.values()):
        place.refuse("no input names a slice, so nothing would ever be rebuilt; at least one needs a column")
    return tuple(MartInput(name, column) for name, column in place.value.items())


def _flag(extensions: Mapping[str, Place], name: str) -> bool:
    place = extensions.get(name)
    if place is not None and place.value is not True:
        place.refuse(f"{place.shown}: must be true, or not be there")
    return place is not None


def _refuse_all(extensions: Mapping[str, Place], names: tuple[str, ...], message: str) -> None:
    for name in names:
        if name in extensions:
            extensions[name].refuse(f"{name} {message}")
