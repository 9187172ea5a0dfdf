"""The one typed view of a contract that everything else uses.

A ``Dataset`` holds no behaviour beyond what its fields imply: reading files is ``loading``, tables
are ``pista.warehouse``, messages are ``pista.ingest``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """How rows of a dataset come to be."""

    UPSERT = "upsert"  # a Kafka topic of states: the newest event of a key is its row
    APPEND = "append"  # a Kafka topic of facts: every event is a row
    MART = "mart"  # derived from other datasets by a SELECT or a pandas function


class LogicalType(StrEnum):
    """Logical types of the standard that a column may have."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATE = "date"
    OBJECT = "object"  # jsonb, as is ARRAY
    ARRAY = "array"


class Origin(StrEnum):
    """The part of a record that a path starts in."""

    VALUE = "value"
    KEY = "key"  # the Kafka key: as a whole it is text, with a path it is a JSON object
    HEADER = "header"  # the last header of that name, as text
    RECORD = "record"  # what the broker says: timestamp, topic, partition or offset


class Coercion(StrEnum):
    """How a value of another type becomes the column's."""

    TEXT = "text"  # a string that holds a number or a boolean as JSON writes it, or the number or boolean itself
    EPOCH_S = "epoch_s"  # a number of seconds since 1970 UTC, or a string that holds one; the others likewise
    EPOCH_MS = "epoch_ms"
    EPOCH_US = "epoch_us"
    EPOCH_NS = "epoch_ns"
    EPOCH_DAYS = "epoch_days"


class Pii(StrEnum):
    """What becomes of a personal value before it is stored anywhere but in quarantine."""

    DROP = "drop"
    HASH = "hash"  # HMAC-SHA-256 with PISTA_PII_SECRET, in hexadecimal


class Merge(StrEnum):
    """What a newer event of a key does to its row."""

    REPLACE = "replace"
    PATCH = "patch"  # fields that the event lacks keep their value


class Format(StrEnum):
    """How a message value is written."""

    JSON = "json"
    AVRO = "avro"
    PROTOBUF = "protobuf"


class Framing(StrEnum):
    """What stands before the value, to say which schema it is of."""

    NONE = "none"
    CONFLUENT = "confluent"  # 0x00 and an id, 0x01 and a GUID, or the id in a header
    GLUE = "glue"  # 0x03, a compression byte and the UUID of a schema version


class Severity(StrEnum):
    """What a failed quality rule means: ERROR blocks publication of a mart, WARNING reports."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its place in the message, its type, and what its values must satisfy."""

    name: str  # in PostgreSQL and the API
    source: str  # what sentences call its place in the message, such as flight.id or header.trace (marts: the name)
    logical_type: LogicalType
    sql_type: str  # text, smallint, integer, bigint, real, double precision, boolean, timestamptz, date, jsonb
    description: str = ""
    required: bool = False
    unit: str | None = None  # UCUM
    classification: str = "internal"
    served: bool = True  # False: personal or restricted; no grant, no catalog entry, no API
    examples: tuple[object, ...] = ()
    enum: tuple[str | int | float, ...] = ()  # empty: any value
    minimum: float | str | None = None  # inclusive; text for dates and timestamps
    maximum: float | str | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None  # an anchored regular expression that RE2 and Python read alike
    zone: str | None = None  # IANA zone of timestamps that carry none; None: they carry an offset
    origin: Origin = Origin.VALUE
    path: tuple[str | int, ...] = ()  # names of fields and indices of arrays; () in a value: the field ``source``
    coercion: Coercion | None = None
    time_format: str | None = None  # strptime form of dates and times that are not ISO 8601
    pii: Pii | None = None


@dataclass(frozen=True, slots=True)
class QualityRule:
    """One rule of the contract's ``quality``: a metric of the standard's library or a SQL query."""

    name: str  # reads as an assertion, unique within the dataset
    description: str
    severity: Severity
    column: str | None  # None: a rule on the whole table
    metric: str | None  # nullValues, missingValues, invalidValues, duplicateValues, rowCount
    query: str | None  # a SELECT of one number; ``{table}`` and ``{column}`` are filled in
    arguments: Mapping[str, object]
    operator: str  # the standard's: mustBe, mustNotBe, mustBeGreaterThan, mustBeBetween, ...
    threshold: object
    unit: str = "rows"  # or "percent" of the table's rows


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a record: one of these values stands at that place."""

    source: str  # as sentences call the place
    origin: Origin
    path: tuple[str | int, ...]
    values: tuple[str | int | float | bool | None, ...]


@dataclass(frozen=True, slots=True)
class MartInput:
    """A dataset that a mart reads, and the column of it that names the mart's slice."""

    dataset: str
    slice_column: str | None  # None: a change of this input dirties no slice (small reference data)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A contract, resolved."""

    name: str
    version: str  # of the contract
    kind: Kind
    columns: tuple[Column, ...]
    key: tuple[str, ...]  # primary key in order; an append dataset has none of its own
    dropped: tuple[Column, ...] = ()  # ``pii: drop``: held to their rules, then removed; no columns of the table
    description: str = ""
    domain: str = "default"
    tags: tuple[str, ...] = ()
    status: str = "active"
    owner: str | None = None  # team name
    support: str | None = None  # an address for people
    topic: str | None = None
    partitions: int | None = None  # of a managed topic; None: the topic is somebody else's
    compacted: bool = False  # a managed topic keeps the newest message of a key
    format: Format = Format.JSON
    framing: Framing = Framing.NONE
    debezium: bool = False  # values are change events of Debezium; the row is in ``after``
    where: tuple[Filter, ...] = ()  # records for which not all hold belong to others, and are counted as filtered
    start: datetime | str = "earliest"  # where the first drain begins: earliest, latest, or at that time
    merge: Merge = Merge.REPLACE
    keep_raw: bool = True  # whether loaded records stay in ``raw``
    quarantine_share: float = 0.5  # more of a batch than this in quarantine stops the dataset
    drain_group: str = "default"  # datasets of one group share a drain run
    parallelism: int = 1  # drains at once, each with partitions of its own
    ordering: str | None = None  # column that says which event of a key is newer
    slice_column: str | None = None  # the partitioned column of a mart
    inputs: tuple[MartInput, ...] = ()
    transform: str | None = None  # a mart's SELECT
    cooldown: timedelta = timedelta(0)  # least time between two automatic builds of a mart
    freshness: timedelta | None = None  # older than this is stale
    retention: timedelta | None = None  # of raw records; None: for ever
    quality: tuple[QualityRule, ...] = ()
    contract_hash: str = ""  # SHA-256 of the contract and its transform
    path: Path | None = None

    @property
    def is_source(self) -> bool:
        """Whether its rows come from a Kafka topic."""
        return self.kind is not Kind.MART

    @property
    def table_key(self) -> tuple[str, ...]:
        """Primary key of the curated table: the contract's, or an append event's place in the log."""
        return ("_epoch", "_partition", "_offset") if self.kind is Kind.APPEND else self.key

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
