"""Offsets that an operator gave up unread, as the audit keeps them: no batch passed them, and none had to."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.warehouse.names import raw


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets ``[first, end)`` of one partition in one epoch."""

    epoch: int
    partition: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Found:
    """Records that a later replay brought into a gap after all."""

    in_raw: int
    in_quarantine: int
    retried: int


def given_up(connection: Connection[TupleRow], dataset: str) -> list[Gap]:
    """Gaps within what was drained of a dataset."""
    rows = connection.execute(
        """
        SELECT DISTINCT (move.value #>> '{to,0}')::integer, move.key::integer,
            (move.value #>> '{to,1}')::bigint - (move.value ->> 'lost')::bigint, (move.value #>> '{to,1}')::bigint
        FROM ingest.audit a, jsonb_each(a.detail -> 'partitions') AS move
        WHERE a.dataset = %s AND a.command IN ('offsets reset', 'offsets accept-loss')
            AND (move.value ->> 'lost')::bigint > 0
        """,
        (dataset,),
    )
    return [Gap(*row) for row in rows]


def find_records(connection: Connection[TupleRow], dataset: str, gap: Gap) -> Found:
    """What is in raw and in quarantine of a gap."""
    row = connection.execute(
        f"""
        SELECT (SELECT count(*) FROM {raw(dataset)} WHERE epoch = %(epoch)s AND partition = %(partition)s
                AND "offset" >= %(first)s AND "offset" < %(end)s),
            count(*), count(*) FILTER (WHERE resolved_at IS NOT NULL AND discarded_at IS NULL)
        FROM ingest.quarantine WHERE dataset = %(dataset)s AND epoch = %(epoch)s AND partition = %(partition)s
            AND "offset" >= %(first)s AND "offset" < %(end)s
        """.encode(),
        {
            "dataset": dataset,
            "epoch": gap.epoch,
            "partition": gap.partition,
            "first": gap.first,
            "end": gap.end,
        },
    ).fetchone()
    assert row is not None
    return Found(*row)
