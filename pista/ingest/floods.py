"""Floods: a batch of which so much is refused that the contract, and not the records, must be wrong.

A flood stops its dataset until the contract changes, or an operator lets the next batch go to quarantine.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from psycopg import Connection
from psycopg.rows import TupleRow

from pista.contracts.dataset import Dataset
from pista.ingest.batch import Batch
from pista.ingest.conditions import QuarantineFlood
from pista.ingest.reasons import Rejection

# refused records of one batch; fewer are no flood, whatever their share: of a small batch, one producer's burst is most
FLOOD_AT_LEAST = 100


def settle(connection: Connection[TupleRow], dataset: Dataset, partitions: Collection[int]) -> bool:
    """Forget a flood of these partitions, inside the transaction that loads them; whether an operator accepted it."""
    row = connection.execute(
        """
        DELETE FROM ingest.floods WHERE dataset = %s AND partitions && %s::integer[]
        RETURNING accepted_at IS NOT NULL AND contract_hash = %s
        """,
        (dataset.name, list(partitions), dataset.contract_hash),
    ).fetchone()
    return row is not None and bool(row[0])


def refuse_flood(batch: Batch, rejections: Sequence[Rejection]) -> None:
    """Raise where a batch would quarantine more than the contract's share of its records (filtered ones are others').

    Raises:
        QuarantineFlood: with counts, the most frequent reason, and where one such record is.
    """
    records, quarantined = len(batch.records) - len(batch.decoded.filtered), len(rejections)
    if quarantined < FLOOD_AT_LEAST or quarantined <= batch.dataset.quarantine_share * records:
        return
    kinds = [(rejection.reason.value, rejection.column) for rejection in rejections]
    (reason, column), most = Counter(kinds).most_common(1)[0]
    record = batch.records.one(rejections[kinds.index((reason, column))].index)
    raise QuarantineFlood(
        batch.dataset.name,
        f"{quarantined} of the {records} records of a batch would go to quarantine, more than the contract's "
        f"share of {batch.dataset.quarantine_share:g}; {most} of them with the reason {reason}"
        f"{f' in column {column}' if column else ''}, such as offset {record.offset} of partition {record.partition} "
        f"of topic {batch.dataset.topic}.",
    )


def remember(
    connection: Connection[TupleRow], dataset: Dataset, partitions: Collection[int], flood: QuarantineFlood
) -> None:
    """Keep a flood where the sensor and the operator find it, once its batch is rolled back."""
    connection.execute(
        """
        INSERT INTO ingest.floods AS f (dataset, partitions, contract_hash, sentence) VALUES (%s, %s, %s, %s)
        ON CONFLICT (dataset) DO UPDATE SET contract_hash = excluded.contract_hash, sentence = excluded.sentence,
            partitions = ARRAY(SELECT DISTINCT unnest(f.partitions || excluded.partitions)),
            found_at = now(), accepted_at = NULL
        """,
        (dataset.name, sorted(partitions), dataset.contract_hash, flood.sentence),
    )


def find_floods(connection: Connection[TupleRow], datasets: Iterable[str]) -> dict[str, QuarantineFlood]:
    """Floods that stop a dataset: found under the contract that is applied now, and accepted by nobody."""
    rows = connection.execute(
        """
        SELECT f.dataset, f.sentence
        FROM ingest.floods f JOIN catalog.datasets d ON d.name = f.dataset AND d.contract_hash = f.contract_hash
        WHERE f.accepted_at IS NULL AND f.dataset = ANY(%s)
        """,
        (list(datasets),),
    )
    return {dataset: QuarantineFlood(dataset, sentence) for dataset, sentence in rows}


def accept(connection: Connection[TupleRow], dataset: str) -> bool:
    """Let the next batch go to quarantine whatever its share, once; False where no flood waits for that."""
    return (
        connection.execute(
            "UPDATE ingest.floods SET accepted_at = now() WHERE dataset = %s AND accepted_at IS NULL", (dataset,)
        ).rowcount
        > 0
    )
