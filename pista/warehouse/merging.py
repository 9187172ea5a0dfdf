"""The SQL that takes a staged batch into `raw` and `curated`.

Positions compare as one tuple: the contract's ordering value, then topic epoch, order time, partition
and offset. The final state of a key depends on two maxima only: the greatest (ordering, position) of
its events, and the greatest position of its tombstones. The row is alive if the former's position is
the later one. Both are kept, so any order of arrival ends in the same state.
"""

from collections.abc import Iterable, Sequence

from pista.contracts.dataset import Dataset, Framing, Kind, Merge
from pista.warehouse.names import curated, literal, quote, quote_all, raw
from pista.warehouse.tables import POSITION_COLUMNS

POSITION = tuple(POSITION_COLUMNS)
RECORD_COLUMNS = {
    **POSITION_COLUMNS,
    "_timestamp": "timestamptz",
    "_key": "bytea",
    "_value": "text",  # JSON, or the text form of bytes: see is_binary
    "_headers": "jsonb",
    "_tombstone": "boolean",
}

CLOSED = "closed"  # among the positions of an erasure: where the past of partitions ends that it did not find

# of the stage's lines: characters that next to no text holds
DELIMITER, QUOTE, NULL = "\x1f", "\x01", "\x02"

Slices = Sequence[tuple[str, str]]  # (mart, column of this dataset that names the mart's slice)


def stage_name(dataset: Dataset) -> str:
    """The temporary table a batch is staged in, one a session and dataset."""
    return f"pg_temp.{quote('stage_' + dataset.name)}"


def stage_ddl(dataset: Dataset) -> str:
    """Create the stage of this session if it is not there."""
    columns = [f"{quote(column.name)} {column.sql_type}" for column in dataset.columns]
    columns += [f"{name} {kind}" for name, kind in _record_columns(dataset).items()]
    name = quote("stage_" + dataset.name)
    return f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({', '.join(columns)}) ON COMMIT DELETE ROWS"


def _record_columns(dataset: Dataset) -> dict[str, str]:
    """Columns of the stage that no contract names, in their order."""
    if dataset.merge is not Merge.PATCH:
        return RECORD_COLUMNS
    last = {"_tombstone": RECORD_COLUMNS["_tombstone"]}
    return {"_absent": "text[]"} | {k: v for k, v in RECORD_COLUMNS.items() if k not in last} | last


def copy_into_stage(dataset: Dataset) -> str:
    """COPY of the stage's columns, in their order, as CSV with the control characters above."""
    names = [column.name for column in dataset.columns] + list(_record_columns(dataset))
    options = f"FORMAT csv, DELIMITER '{DELIMITER}', QUOTE '{QUOTE}', NULL '{NULL}'"
    return f"COPY {stage_name(dataset)} ({quote_all(names)}) FROM STDIN ({options})"


def is_binary(dataset: Dataset) -> bool:
    """Whether values are not JSON as they stand: then the stage holds their bytes in hexadecimal."""
    return dataset.framing is not Framing.NONE


def forget_erased(dataset: Dataset) -> str:
    """Staged records of keys that were erased since, out of the stage."""
    return f"""
        DELETE FROM {stage_name(dataset)} s USING ingest.erased e
        WHERE e.dataset = {literal(dataset.name)} AND e.key_hash = {key_hash(dataset)} AND {is_past()}
    """


def key_hash(dataset: Dataset) -> str:
    """Salted hash of the key of a record ``s`` whose erasure is ``e``, as SQL."""
    return f"sha256(e.salt || convert_to(jsonb_build_array({quote_all(dataset.key, 's.')})::text, 'UTF8'))"


def is_past() -> str:
    """Whether a record ``s`` lies before the erasure ``e``, as SQL; what a file holds always does.

    Of a partition that had no line in the ledger any more, all that earlier epochs hold does.
    """
    known = f"coalesce(e.positions -> s._partition::text, e.positions -> {literal(CLOSED)})"
    return f"(s._epoch < 0 OR (s._epoch, s._offset) < (({known} ->> 0)::integer, ({known} ->> 1)::bigint))"


def insert_raw(dataset: Dataset, *, only_missing: bool) -> str:
    """Staged records into the event log; ``only_missing`` leaves out positions that are there."""
    table = raw(dataset.name)
    value = "_value::bytea" if is_binary(dataset) else "convert_to(_value, 'UTF8')"
    missing = f"""
        WHERE NOT EXISTS (SELECT FROM {table} r
            WHERE r.epoch = s._epoch AND r.partition = s._partition AND r."offset" = s._offset)
    """
    return f"""
        INSERT INTO {table} (epoch, partition, "offset", order_time, timestamp, key, value, headers)
        SELECT _epoch, _partition, _offset, _order_time, _timestamp, _key, {value}, _headers
        FROM {stage_name(dataset)} s {missing if only_missing else ""}
    """


def merge(dataset: Dataset, slices: Slices, *, tombstones: bool) -> str:
    """Staged records into the curated table; one row: inserted, updated, deleted.

    Args:
        dataset: an upsert or append dataset.
        slices: marts whose slices the changed rows dirty.
        tombstones: whether the batch holds deletions, or the dataset ever had one. Without any, the
            cheaper statement gives the same result.

    Parameters of the statement: ``version``, the number of this publication.
    """
    if dataset.kind is Kind.APPEND:
        return _append(dataset, slices)
    return _merge_with_tombstones(dataset, slices) if tombstones else _upsert(dataset, slices)


def _append(dataset: Dataset, slices: Slices) -> str:
    names = _row_columns(dataset)
    return f"""
        WITH merged AS (
            INSERT INTO {curated(dataset.name)} ({quote_all(names)}, _version, _updated_at)
            SELECT {quote_all(names)}, %(version)s, now() FROM {stage_name(dataset)}
            ON CONFLICT ({quote_all(POSITION_KEY)}) DO NOTHING
            RETURNING true AS inserted, true AS changed, {returned_slices(slices)}
        ) {queue_slices(dataset, slices, ["merged"])}
        SELECT count(*), 0, 0 FROM merged
    """


POSITION_KEY = ("_epoch", "_partition", "_offset")


def _upsert(dataset: Dataset, slices: Slices) -> str:
    return f"""
        WITH merged AS (
            {_insert_or_update(dataset, f"SELECT * FROM ({_newest(dataset, 'true')}) newest", slices)}
        ) {queue_slices(dataset, slices, ["merged"])}
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE changed AND NOT inserted), 0 FROM merged
    """


def _merge_with_tombstones(dataset: Dataset, slices: Slices) -> str:
    key = quote_all(dataset.key)
    ordering = quote(dataset.ordering) if dataset.ordering else None
    ordering_type = dataset.column(dataset.ordering).sql_type if dataset.ordering else None
    # without an ordering field the log's own order decides
    event_after_row = f"({_position('e', ordering)}) > ({_position('c', ordering)})"
    event_after_dead = f"(d.ordering IS NULL OR e.{ordering} >= d.ordering::{ordering_type})" if ordering else "true"
    outlived = f"greatest(d.ordering::{ordering_type}, e.{ordering}, c.{ordering})::text" if ordering else "NULL::text"
    return f"""
        WITH events AS MATERIALIZED ({_newest(dataset, "NOT _tombstone")}),
        tombstones AS MATERIALIZED ({_newest(dataset, "_tombstone", by_log=True)}),
        compared AS (
            SELECT {quote_all(dataset.key, "k.")}, jsonb_build_array({quote_all(dataset.key, "k.")})::text AS key_text,
                c._version IS NOT NULL AS live,
                e._offset IS NOT NULL AND CASE WHEN c._version IS NOT NULL THEN {event_after_row}
                    ELSE {event_after_dead} END AS event_wins,
                CASE WHEN e._offset IS NOT NULL THEN ROW({_position("e")})::ingest.position END AS event_at,
                CASE WHEN c._version IS NOT NULL THEN ROW({_position("c")})::ingest.position END AS row_at,
                greatest(
                    CASE WHEN t._offset IS NOT NULL THEN ROW({_position("t")})::ingest.position END,
                    CASE WHEN d.key IS NOT NULL
                        THEN ROW(d.epoch, d.order_time, d.partition, d."offset")::ingest.position END
                ) AS tombstone_at,
                {outlived} AS outlived,
                d.ordering AS outlived_before
            FROM (SELECT {key} FROM events UNION SELECT {key} FROM tombstones) k
            LEFT JOIN events e USING ({key})
            LEFT JOIN tombstones t USING ({key})
            LEFT JOIN {curated(dataset.name)} c USING ({key})
            LEFT JOIN catalog.deleted d
                ON d.dataset = {literal(dataset.name)} AND d.key = jsonb_build_array({
        quote_all(dataset.key, "k.")
    })::text
        ),
        decided AS MATERIALIZED (
            SELECT *, tombstone_at IS NOT NULL AND coalesce(
                CASE WHEN event_wins THEN event_at WHEN live THEN row_at END < tombstone_at, true) AS dead
            FROM compared
        ),
        removed AS (
            DELETE FROM {curated(dataset.name)} c USING decided
            WHERE ({quote_all(dataset.key, "c.")}) = ({quote_all(dataset.key, "decided.")}) AND live AND dead
            RETURNING true AS changed, {returned_slices(slices, new=False)}
        ),
        merged AS (
            {
        _insert_or_update(
            dataset, f"SELECT events.* FROM events JOIN decided USING ({key}) WHERE event_wins AND NOT dead", slices
        )
    }
        ),
        remembered AS (
            INSERT INTO catalog.deleted AS d (dataset, key, ordering, epoch, order_time, partition, "offset", version)
            SELECT {literal(dataset.name)}, key_text, CASE WHEN dead THEN outlived ELSE outlived_before END,
                (tombstone_at).epoch, (tombstone_at).order_time, (tombstone_at).partition, (tombstone_at)."offset",
                CASE WHEN live AND dead THEN %(version)s::bigint END
            FROM decided WHERE tombstone_at IS NOT NULL
            ON CONFLICT (dataset, key) DO UPDATE SET ordering = excluded.ordering, epoch = excluded.epoch,
                order_time = excluded.order_time, partition = excluded.partition, "offset" = excluded."offset",
                version = CASE WHEN excluded.version IS NOT NULL THEN excluded.version
                    WHEN EXISTS (SELECT FROM decided x WHERE x.key_text = excluded.key AND NOT x.dead) THEN NULL
                    ELSE d.version END,
                deleted_at = CASE WHEN excluded.version IS NULL THEN d.deleted_at ELSE now() END
        ) {queue_slices(dataset, slices, ["merged", "removed"])}
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE changed AND NOT inserted),
            (SELECT count(*) FROM removed) FROM merged
    """


def _newest(dataset: Dataset, condition: str, *, by_log: bool = False) -> str:
    """The staged record of each key with the greatest position (``by_log``: whatever its ordering value)."""
    key = quote_all(dataset.key)
    order = [quote(dataset.ordering)] if dataset.ordering and not by_log else []
    order += list(POSITION)
    descending = ", ".join(f"{column} DESC" for column in order)
    return f"""
        SELECT DISTINCT ON ({key}) {quote_all(_row_columns(dataset))}
        FROM {stage_name(dataset)} WHERE {condition} ORDER BY {key}, {descending}
    """


def _insert_or_update(dataset: Dataset, source: str, slices: Slices) -> str:
    """Insert the rows of ``source``; on a known key the greater position wins, and equal content keeps its version."""
    names = _row_columns(dataset)
    content = [column.name for column in dataset.columns if column.name not in dataset.key]
    ordering = quote(dataset.ordering) if dataset.ordering else None
    changed = (
        f"ROW({quote_all(content, 'c.')}) IS DISTINCT FROM ROW({quote_all(content, 'excluded.')})"
        if content
        else "false"
    )
    assignments = [f"{quote(name)} = excluded.{quote(name)}" for name in [*content, *POSITION]]
    assignments += [
        f"{name} = CASE WHEN {changed} THEN excluded.{name} ELSE c.{name} END" for name in ("_version", "_updated_at")
    ]
    return f"""
        INSERT INTO {curated(dataset.name)} AS c ({quote_all(names)}, _version, _updated_at)
        SELECT {quote_all(names)}, %(version)s, now() FROM ({source}) s
        ON CONFLICT ({quote_all(dataset.key)}) DO UPDATE SET {", ".join(assignments)}
        WHERE ({_position("excluded", ordering)}) > ({_position("c", ordering)})
        RETURNING old._version IS NULL AS inserted, new._version = %(version)s AS changed, {returned_slices(slices)}
    """


def _row_columns(dataset: Dataset) -> list[str]:
    return [column.name for column in dataset.columns] + list(POSITION)


def _position(relation: str, ordering: str | None = None) -> str:
    parts = [ordering] if ordering else []
    return ", ".join(f"{relation}.{part}" for part in [*parts, *POSITION])


def returned_slices(slices: Slices, *, new: bool = True) -> str:
    """Old and new slice names of a changed row as one array a mart, for the queue."""
    arrays = []
    for number, (_, column) in enumerate(slices):
        sides = [f"old.{quote(column)}::text"] + ([f"new.{quote(column)}::text"] if new else [])
        arrays.append(f"ARRAY[{', '.join(sides)}] AS slices_{number}")
    return ", ".join(arrays) or "NULL AS slices"


def queue_slices(dataset: Dataset, slices: Slices, relations: Iterable[str]) -> str:
    """Queue each slice that a changed row left or entered."""
    selects = [
        f"SELECT DISTINCT {literal(mart)}, slice, {literal(dataset.name)} "
        f"FROM {relation}, unnest(slices_{number}) AS slice WHERE changed AND slice IS NOT NULL"
        for number, (mart, _) in enumerate(slices)
        for relation in relations
    ]
    if not selects:
        return ""
    return f", queued AS (INSERT INTO ingest.changed_slices (mart, slice, input) {' UNION '.join(selects)})"
