"""What a source says of the topic it reads: format, which records, from when, how a record changes a row."""

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import TypedDict

from pista.contracts.dataset import Column, Filter, Format, Framing, Merge, Origin
from pista.contracts.document import Place
from pista.contracts.names import dataset_name_problem
from pista.contracts.paths import Source, parse_source, source_of
from pista.contracts.problems import either

SOURCE_ONLY = (
    "where",
    "merge",
    "envelope",
    "framing",
    "start",
    "raw",
    "quarantine_share",
    "drain_group",
    "parallelism",
)
DEBEZIUM = "debezium"
STARTS = ("earliest", "latest")
DEFAULT_GROUP = "default"
DEFAULT_QUARANTINE_SHARE = 0.5
MAX_PARALLELISM = 64
INTO_ROWS = "a change event of Debezium says what a table's row has become"


class TopicReading(TypedDict, total=False):
    """The fields of a Dataset that say how its topic is read."""

    format: Format
    framing: Framing
    debezium: bool
    where: tuple[Filter, ...]
    start: datetime | str
    merge: Merge
    keep_raw: bool
    quarantine_share: float
    drain_group: str
    parallelism: int


def read_topic(
    name: str, servers: list[Place], key: tuple[str, ...], partitions: int | None, extensions: Mapping[str, Place]
) -> TopicReading:
    """How the topic of a source with this key is read.

    Args:
        name: of the dataset.
        servers: the contract's servers of type kafka.
        key: names of the key columns.
        partitions: of a topic that Pista makes; None: somebody else's.
        extensions: the dataset's custom properties.
    """
    message_format = _format(servers)
    keep_raw = _raw(extensions.get("raw"))
    parallelism = _parallelism(extensions.get("parallelism"), partitions)
    return TopicReading(
        format=message_format,
        framing=_framing(extensions.get("framing"), message_format, servers),
        debezium=_debezium(extensions, key),
        where=_where(extensions.get("where")),
        start=_start(extensions.get("start")),
        merge=_merge(extensions, key, keep_raw),
        keep_raw=keep_raw,
        quarantine_share=_share(extensions.get("quarantine_share")),
        drain_group=_group(extensions.get("drain_group"), name, parallelism),
        parallelism=parallelism,
    )


def check_mirror(
    columns: Mapping[str, Column | None], key: tuple[str, ...], where: tuple[Filter, ...], filters: Place
) -> None:
    """Filters of change events ask for nothing that a change can change, or that a deletion may not say."""
    lasting = [source_of(column) for name in key if (column := columns.get(name)) is not None]
    for condition in where:
        asked = source_of(condition)
        if asked.origin is Origin.VALUE and asked.steps not in [source.steps for source in lasting]:
            filters.refuse(
                f"{condition.source} is no key column: a change could take a row out of the filter, and nothing would "
                f"delete it; with envelope: debezium ask for {either([*key, 'key.NAME', 'header.NAME'])}"
            )


def check_places(
    properties: Place, columns: Mapping[str, Column | None], where: tuple[Filter, ...], filters: Place | None
) -> None:
    """What ``pii`` hides is not stored by another column, and decides nothing that a replay has to decide again."""
    readable = {name: column for name, column in columns.items() if column is not None}
    for hidden in readable.values():
        if hidden.pii is None:
            continue
        place = source_of(hidden)
        for item in properties:
            outer = readable.get(item["name"].value)
            if outer is not None and outer is not hidden and source_of(outer).holds(place):
                item.refuse(
                    f"stores {outer.source} whole, and with it {hidden.source}, which pii: {hidden.pii} of "
                    f"{hidden.name} is to hide; read the other fields as columns of their own"
                )
        for condition in where:
            asked = source_of(condition)
            if filters is not None and (asked.holds(place) or place.holds(asked)):
                filters.refuse(f"{condition.source}: pii: {hidden.pii} of {hidden.name} leaves nothing to compare with")


def _format(servers: list[Place]) -> Format:
    found = Format.JSON
    for server in servers:
        value = server["format"].value
        if value is not None and value not in set(Format):
            server["format"].refuse(f"{server['format'].shown} is not supported; must be {either(Format)}")
        elif value is not None:
            if server is not servers[0] and value != (servers[0]["format"].value or Format.JSON):
                server["format"].refuse(
                    f"{server['format'].shown}: the first server says otherwise; one topic, one format"
                )
            found = Format(value) if server is servers[0] else found
        if str(server["encoding"].value or "UTF-8").upper() not in ("UTF-8", "UTF8"):
            server["encoding"].refuse(f"{server['encoding'].shown} is not supported; must be UTF-8")
    return found


def _framing(place: Place | None, message_format: Format, servers: list[Place]) -> Framing:
    registries = (Framing.CONFLUENT, Framing.GLUE)
    if place is not None and (not isinstance(place.value, str) or place.value not in set(Framing)):
        place.refuse(f"{place.shown}: must be {either(Framing)}")
        return Framing.NONE
    framing = Framing.NONE if place is None else Framing(place.value)
    if framing is Framing.NONE and message_format is not Format.JSON:
        (place or servers[0]["format"]).refuse(
            f"{message_format} without framing says nothing of its schema, and a schema within the contract is not "
            f"supported; add the custom property framing: {either(registries)}"
        )
    return framing


def _debezium(extensions: Mapping[str, Place], key: tuple[str, ...]) -> bool:
    place = extensions.get("envelope")
    if place is None:
        return False
    if place.value != DEBEZIUM:
        place.refuse(f"{place.shown}: must be {DEBEZIUM}, or not be there")
    elif not key:
        place.refuse(f"{INTO_ROWS}, so it needs a key; mark the table's key columns with primaryKey: true")
    return True


def _where(place: Place | None) -> tuple[Filter, ...]:
    if place is None:
        return ()
    if not isinstance(place.value, dict) or not place.value:
        place.refuse(
            f"{place.shown}: must be a mapping of source to value, or list of values, such as {{type: flight}}"
        )
        return ()
    filters: dict[tuple[Origin, tuple[str | int, ...]], Filter] = {}
    for text, values in place.fields():
        source = parse_source(text, values)
        if source is None:
            continue
        if source.origin is Origin.RECORD:
            values.refuse(f"{text} says where a record is, not what it is; filter by the value, the key or a header")
            continue
        if (source.origin, source.steps) in filters:
            values.refuse(f"{text} stands twice; write a list of values")
        accepted = _values(values, source)
        filters[source.origin, source.steps] = Filter(source.text, source.origin, source.path, accepted)
    return tuple(filters.values())


def _values(place: Place, source: Source) -> tuple[str | int | float | bool | None, ...]:
    items = list(place) if isinstance(place.value, list) else [place]
    if not items:
        place.refuse("an empty list accepts no record; name at least one value")
    is_text = source.origin is Origin.HEADER or (source.origin is Origin.KEY and not source.path)
    for item in items:
        number = isinstance(item.value, float) and not isfinite(item.value)
        if isinstance(item.value, dict | list) or number:
            item.refuse(f"{item.shown}: must be text, a number, true, false or null (absent)")
        elif is_text and not isinstance(item.value, str | None):
            item.refuse(f"{item.shown}: {source.text} is text; put the value in quotes")
    return tuple(item.value for item in items)


def _start(place: Place | None) -> datetime | str:
    if place is None or (isinstance(place.value, str) and place.value in STARTS):
        return STARTS[0] if place is None else str(place.value)
    try:
        moment = datetime.fromisoformat(place.value) if isinstance(place.value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        place.refuse(f"{place.shown}: must be {either(STARTS)}, or a time with offset such as 2013-01-31T12:00:00Z")
        return STARTS[0]
    return moment


def _merge(extensions: Mapping[str, Place], key: tuple[str, ...], keep_raw: bool) -> Merge:
    place = extensions.get("merge")
    if place is None:
        return Merge.REPLACE
    if not isinstance(place.value, str) or place.value not in set(Merge):
        place.refuse(f"{place.shown}: must be {either(Merge)}")
        return Merge.REPLACE
    merge = Merge(place.value)
    if not key:
        place.refuse("only an upsert source has rows that change; this one has no primaryKey")
    elif merge is Merge.PATCH:
        if not keep_raw:
            extensions["raw"].refuse(
                "merge: patch needs the events of a key again for a rebuild, so raw must be kept; remove raw"
            )
        if "compacted" in extensions:
            extensions["compacted"].refuse("compaction removes the older events that merge: patch builds on; remove it")
        if "envelope" in extensions:
            place.refuse(f"{INTO_ROWS}, whole; must be replace")
    return merge


def _raw(place: Place | None) -> bool:
    if place is not None and place.value is not False:
        place.refuse(f"{place.shown}: must be false, or not be there (raw records are kept)")
    return place is None


def _share(place: Place | None) -> float:
    if place is None:
        return DEFAULT_QUARANTINE_SHARE
    if not isinstance(place.value, int | float) or isinstance(place.value, bool) or not 0 <= place.value <= 1:
        place.refuse(f"{place.shown}: must be a share of a batch from 0 (none) to 1 (all), such as 0.05")
        return DEFAULT_QUARANTINE_SHARE
    return float(place.value)


def _group(place: Place | None, name: str, parallelism: int) -> str:
    default = DEFAULT_GROUP if parallelism == 1 else name
    if place is None:
        return default
    if parallelism > 1:
        place.refuse(f"with a parallelism of {parallelism} the dataset has drains of its own; remove drain_group")
    if not isinstance(place.value, str) or dataset_name_problem(place.value) is not None:
        place.refuse(f"{place.shown}: a group's name is snake_case, at most 40 characters, such as {DEFAULT_GROUP}")
        return default
    return place.value


def _parallelism(place: Place | None, partitions: int | None) -> int:
    if place is None:
        return 1
    if type(place.value) is not int or not 1 <= place.value <= MAX_PARALLELISM:
        place.refuse(f"{place.shown}: must be a whole number from 1 to {MAX_PARALLELISM}")
        return 1
    if partitions is not None and place.value > partitions:
        place.refuse(f"{place.value} drains would share {partitions} partitions; at most one drain a partition")
    return place.value
