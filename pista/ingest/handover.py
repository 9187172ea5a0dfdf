"""Whose turn it is among the drains of one dataset: a successor gets ready, and waits for the end of the one before.

Correctness is the ledger's business, which lets only one of two drains commit a range. This saves what they would do
twice, and the time in which nobody drains.
"""

from dataclasses import dataclass
from enum import Enum

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.ingest.share import Share

SOON_SECONDS = 60.0  # a drain that ends sooner is waited for; one that has longer makes another superfluous
SILENT_SECONDS = 6.0  # a drain that has not beaten for so long is not waited for: it beats every 2 s


class Turn(Enum):
    """What a drain may do."""

    BEGIN = "begin"
    WAIT = "wait"  # the one before it is about to end
    LEAVE = "leave"  # others are at work on all of it, and stay


@dataclass(frozen=True, slots=True)
class Other:
    """A living drain of the same dataset that shares a partition with this one."""

    share: Share
    older: bool  # it started before
    ends_in: float | None  # seconds; None: it has only begun or waits itself


def decide(share: Share, others: list[Other]) -> Turn:
    """Whether a drain of that share may begin, among those."""
    before = [other for other in others if other.older]
    if any(other.ends_in is not None and -SOON_SECONDS < other.ends_in < SOON_SECONDS for other in before):
        return Turn.WAIT
    staying = [other.share for other in before if other.ends_in is None or other.ends_in >= SOON_SECONDS]
    return Turn.LEAVE if share.is_within(staying) else Turn.BEGIN


def find_others(connection: Connection[TupleRow], dataset: str, share: Share, run_id: str) -> list[Other]:
    """The living drains of a dataset that share a partition with the drain of that run."""
    rows = connection.execute(
        """
        SELECT o.slot, o.slots, (o.started_at, o.run_id) < (own.started_at, own.run_id),
            extract(epoch FROM o.ends_at - now())::float8
        FROM ingest.drains o, ingest.drains own
        WHERE own.run_id = %s AND own.dataset = %s AND o.dataset = own.dataset AND o.run_id <> own.run_id
            AND o.ended_at IS NULL AND o.beat_at > now() - make_interval(secs => %s)
        """,
        (run_id, dataset, SILENT_SECONDS),
    ).fetchall()
    others = [Other(Share(slot, slots), older, ends_in) for slot, slots, older, ends_in in rows]
    return [other for other in others if other.share.overlaps(share)]
