"""As of when a dataset is known to hold all that its topic, or its inputs, held."""

from collections.abc import Collection

from psycopg import Connection
from psycopg.rows import TupleRow


def stamp_sources(connection: Connection[TupleRow], complete: Collection[str]) -> None:
    """Those source datasets hold, as of now, all that their topics hold."""
    connection.execute("UPDATE catalog.versions SET as_of = now() WHERE dataset = ANY(%s)", (list(complete),))


def stamp_marts(connection: Connection[TupleRow], mart: str | None = None) -> None:
    """Built marts without changes to build are complete as of when all their inputs were; one mart, or all."""
    connection.execute(
        """
        UPDATE catalog.versions v SET as_of = inputs.as_of
        FROM (
            SELECT i.mart, min(s.as_of) AS as_of
            FROM catalog.mart_inputs i JOIN catalog.versions s ON s.dataset = i.input
            GROUP BY i.mart HAVING bool_and(s.as_of IS NOT NULL)
        ) inputs
        WHERE v.dataset = inputs.mart AND v.version > 0 AND v.as_of IS DISTINCT FROM inputs.as_of
            AND (%(mart)s::text IS NULL OR v.dataset = %(mart)s)
            AND NOT EXISTS (SELECT FROM ingest.changed_slices q WHERE q.mart = v.dataset)
        """,
        {"mart": mart},
    )
