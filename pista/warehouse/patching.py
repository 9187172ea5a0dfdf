"""The SQL of `merge: patch`: a key's events, each with the fields that it has, folded into its row.

A table a dataset keeps the events that still decide something. The row of a key is all its events after
its latest deletion in the log, folded in order of (ordering value, position): the later field stands. It
is alive unless that deletion is later in the log than the greatest of its events. This is what an ordered
load ends in, and because the fold starts from events and not from a row, so does any other arrival.
"""

from pista.contracts.dataset import Dataset
from pista.warehouse.merging import POSITION, Slices, queue_slices, returned_slices, stage_name
from pista.warehouse.names import curated, literal, patches, quote, quote_all

LEAST_CROWDED = 32  # events of a key that are kept before those that decide nothing are looked for

PLACE = 'epoch, order_time, partition, "offset"'
AT = 'ROW(p.epoch, p.order_time, p.partition, p."offset")::ingest.position'


def keep_events(dataset: Dataset) -> str:
    """Staged events into the table, each with the fields that it has; those that are there stay once."""
    names = [column.name for column in dataset.columns]
    return f"""
        INSERT INTO {patches(dataset.name)} (key, {PLACE}, fields)
        SELECT jsonb_build_array({quote_all(dataset.key, "s.")})::text, {", ".join(f"s.{name}" for name in POSITION)},
            to_jsonb(stated) - s._absent
        FROM {stage_name(dataset)} s CROSS JOIN LATERAL (SELECT {quote_all(names, "s.")}) AS stated
        WHERE NOT s._tombstone
        ON CONFLICT DO NOTHING
    """


def merge_patches(dataset: Dataset, slices: Slices) -> str:
    """Fold the keys of the stage into the curated table; one row: inserted, updated, deleted.

    Parameters of the statement: ``version``, the number of this publication.
    """
    key = quote_all(dataset.key)
    names = [column.name for column in dataset.columns]
    content = [name for name in names if name not in dataset.key]
    types = ", ".join(f"{quote(column.name)} {column.sql_type}" for column in dataset.columns)
    changed = f"ROW({quote_all(content, 'c.')}) IS DISTINCT FROM ROW({quote_all(content, 'excluded.')})"
    moved = f"ROW({quote_all(POSITION, 'c.')}) IS DISTINCT FROM ROW({quote_all(POSITION, 'excluded.')})"
    assignments = [f"{quote(name)} = excluded.{quote(name)}" for name in [*content, *POSITION]]
    assignments += [
        f"{name} = CASE WHEN {changed} THEN excluded.{name} ELSE c.{name} END" for name in ("_version", "_updated_at")
    ]
    newest_at = ", ".join(f"(f.newest_at).{name}" for name in ("epoch", "order_time", "partition", '"offset"'))
    return f"""
        WITH touched AS (
            SELECT DISTINCT {key}, jsonb_build_array({key})::text AS key_text FROM {stage_name(dataset)}
        ),
        tombstones AS (
            SELECT DISTINCT ON ({key}) {key}, ROW({quote_all(POSITION)})::ingest.position AS at
            FROM {stage_name(dataset)} WHERE _tombstone
            ORDER BY {key}, {", ".join(f"{name} DESC" for name in POSITION)}
        ),
        told AS MATERIALIZED (
            SELECT {quote_all(dataset.key, "k.")}, k.key_text, c._version IS NOT NULL AS live, greatest(t.at,
                CASE WHEN d.key IS NOT NULL THEN ROW(d.epoch, d.order_time, d.partition, d."offset")::ingest.position
                END) AS tombstone_at
            FROM touched k
            LEFT JOIN tombstones t USING ({key})
            LEFT JOIN {curated(dataset.name)} c USING ({key})
            LEFT JOIN catalog.deleted d ON d.dataset = {literal(dataset.name)} AND d.key = k.key_text
        ),
        folded AS MATERIALIZED (
            SELECT k.key_text, (array_agg({AT} ORDER BY {_order(dataset)}))[count(*)] AS newest_at,
                ingest.patched(p.fields ORDER BY {_order(dataset)})
                    FILTER (WHERE k.tombstone_at IS NULL OR {AT} > k.tombstone_at) AS content
            FROM told k JOIN {patches(dataset.name)} p ON p.key = k.key_text
            GROUP BY k.key_text
        ),
        decided AS MATERIALIZED (
            SELECT k.*, f.newest_at, f.content,
                k.tombstone_at IS NOT NULL AND coalesce(f.newest_at < k.tombstone_at, true) AS dead
            FROM told k LEFT JOIN folded f USING (key_text)
        ),
        removed AS (
            DELETE FROM {curated(dataset.name)} c USING decided
            WHERE ({quote_all(dataset.key, "c.")}) = ({quote_all(dataset.key, "decided.")}) AND live AND dead
            RETURNING true AS changed, {returned_slices(slices, new=False)}
        ),
        merged AS (
            INSERT INTO {curated(dataset.name)} AS c ({quote_all([*names, *POSITION])}, _version, _updated_at)
            SELECT {quote_all(names, "r.")}, {newest_at}, %(version)s, now()
            FROM decided f CROSS JOIN LATERAL jsonb_to_record(f.content) AS r ({types}) WHERE NOT f.dead
            ON CONFLICT ({key}) DO UPDATE SET {", ".join(assignments)} WHERE {changed} OR {moved}
            RETURNING old._version IS NULL AS inserted, new._version = %(version)s AS changed, {returned_slices(slices)}
        ),
        remembered AS (
            INSERT INTO catalog.deleted AS d (dataset, key, epoch, order_time, partition, "offset", version)
            SELECT {literal(dataset.name)}, key_text, (tombstone_at).epoch, (tombstone_at).order_time,
                (tombstone_at).partition, (tombstone_at)."offset",
                CASE WHEN live AND dead THEN %(version)s::bigint END
            FROM decided WHERE tombstone_at IS NOT NULL
            ON CONFLICT (dataset, key) DO UPDATE SET epoch = excluded.epoch, order_time = excluded.order_time,
                partition = excluded.partition, "offset" = excluded."offset",
                version = CASE WHEN excluded.version IS NOT NULL THEN excluded.version
                    WHEN EXISTS (SELECT FROM decided x WHERE x.key_text = excluded.key AND NOT x.dead) THEN NULL
                    ELSE d.version END,
                deleted_at = CASE WHEN excluded.version IS NULL THEN d.deleted_at ELSE now() END
        ) {queue_slices(dataset, slices, ["merged", "removed"])}
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE changed AND NOT inserted),
            (SELECT count(*) FROM removed) FROM merged
    """


def forget_superseded(dataset: Dataset) -> str:
    """Of crowded keys of the stage, delete the events that decide nothing, whatever is still to come.

    Such an event has no field that an event does not state which is later both in the log and in order: no
    deletion between the two can be later than one and not than the other.
    """
    ordering = f"(p.fields ->> {literal(dataset.ordering)})::{_ordering_type(dataset)}" if dataset.ordering else "0"
    return f"""
        WITH crowded AS (
            SELECT p.key FROM {patches(dataset.name)} p
            WHERE p.key IN (SELECT jsonb_build_array({quote_all(dataset.key)})::text FROM {stage_name(dataset)})
            GROUP BY p.key HAVING count(*) > {_crowded(dataset)}
        ),
        stated AS (
            SELECT p.key, p.epoch, p.partition, p."offset", {ordering} <= max({ordering}) OVER (
                PARTITION BY p.key, field.name ORDER BY p.epoch, p.order_time, p.partition, p."offset"
                ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS superseded
            FROM {patches(dataset.name)} p JOIN crowded USING (key), jsonb_object_keys(p.fields) AS field (name)
        )
        DELETE FROM {patches(dataset.name)} p USING (
            SELECT key, epoch, partition, "offset" FROM stated
            GROUP BY key, epoch, partition, "offset" HAVING bool_and(coalesce(superseded, false))
        ) s WHERE (p.key, p.epoch, p.partition, p."offset") = (s.key, s.epoch, s.partition, s."offset")
    """


def _crowded(dataset: Dataset) -> int:
    # at most one event a column is left, so twice as many are looked at once in a while only
    return max(LEAST_CROWDED, 2 * len(dataset.columns))


def _order(dataset: Dataset) -> str:
    if dataset.ordering is None:
        return AT
    return f"(p.fields ->> {literal(dataset.ordering)})::{_ordering_type(dataset)}, {AT}"


def _ordering_type(dataset: Dataset) -> str:
    return dataset.column(str(dataset.ordering)).sql_type
