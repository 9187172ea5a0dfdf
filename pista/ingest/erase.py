"""Erasing a key: its row, every record of it in raw and quarantine, and its way back."""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from pista.contracts.dataset import Dataset
from pista.ingest.audit import record_audit
from pista.ingest.decode import Decoder
from pista.ingest.feeds import Bookmark, RawFeed, bookmark
from pista.ingest.files import FILE_EPOCH, plain
from pista.ingest.keys import Key, keys_of
from pista.ingest.pii import hashed
from pista.ingest.quarantine import all_records
from pista.kafka.records import Records
from pista.settings import Settings
from pista.warehouse import shadow
from pista.warehouse.connection import connect
from pista.warehouse.merging import CLOSED, Slices, queue_slices, returned_slices
from pista.warehouse.names import curated, patches, quote_all, raw
from pista.warehouse.roles import OWNER

AT_ONCE = 1_000  # quarantined records


class EraseRefusedError(Exception):
    """The key cannot be erased, or is none."""


@dataclass(slots=True)
class EraseReport:
    """What was removed."""

    rows: int = 0
    raw: int = 0
    quarantined: int = 0
    marts: tuple[str, ...] = ()  # that are built again


def erase(admin_dsn: str, dataset: Dataset, settings: Settings, key: Sequence[str], *, reason: str) -> EraseReport:
    """Remove a key from curated, raw and quarantine, and keep what the log has of it so far from coming back.

    The row goes and the way back is closed in one transaction; raw and quarantine follow batch by batch.
    Broken off, the same call goes on. Tokens and ETags of before are void, for a follower of changes is
    not told which key is gone.

    Args:
        admin_dsn: of a role that is a member of the owner.
        dataset: of kind upsert.
        settings: of the process.
        key: a text a key column, in clear.
        reason: for the audit, which does not hold the key.

    Raises:
        EraseRefusedError: the dataset has no key, or these are no values of it.
        RebuildRunningError: the dataset is being rebuilt.
    """
    if not dataset.key:
        raise EraseRefusedError(f"dataset {dataset.name} has no key: every event of it is a row of its own")
    if len(key) != len(dataset.key):
        raise EraseRefusedError(f"the key of {dataset.name} is {', '.join(dataset.key)}; give a value for each")
    with ExitStack() as stack:
        connection = stack.enter_context(connect(admin_dsn, f"pista erase {dataset.name}"))
        connection.execute(f"SET ROLE {OWNER}".encode())
        connection.execute("SET TimeZone = 'UTC'; SET lock_timeout = '30s'")
        stack.enter_context(shadow.alone(connection, dataset.name))
        work = _Erasure(connection, dataset, settings, _stored(connection, dataset, settings, key))
        until = work.close_the_way(reason)
        work.clear_raw(until)
        work.clear_quarantine(until)
        return work.report


def _stored(connection: Connection[TupleRow], dataset: Dataset, settings: Settings, key: Sequence[str]) -> Key:
    """The key as rows have it: of its types, and hashed where it is personal."""
    secret = settings.pii_secret.get_secret_value().encode() if settings.pii_secret else b""
    columns = [dataset.column(name) for name in dataset.key]
    if not secret and any(column.pii for column in columns):
        raise EraseRefusedError("the key is hashed with PISTA_PII_SECRET, which is not set")
    texts = [hashed(secret, text) if column.pii else text for column, text in zip(columns, key, strict=True)]
    casts = ", ".join(f"%s::{column.sql_type}" for column in columns)
    try:
        row = connection.execute(f"SELECT {casts}".encode(), texts).fetchone()
    except psycopg.errors.DataError as error:
        raise EraseRefusedError(f"this is no key of {dataset.name}: {error.diag.message_primary}") from None
    assert row is not None
    return row


class _Erasure:
    """One key on its way out."""

    def __init__(self, connection: Connection[TupleRow], dataset: Dataset, settings: Settings, key: Key) -> None:
        self.report = EraseReport()
        self._connection, self._dataset, self._settings, self._key = connection, dataset, settings, key

    def close_the_way(self, reason: str) -> Bookmark:
        """The row and what would bring it back; where the log stood."""
        name = self._dataset.name
        with self._connection.transaction():
            until = bookmark(self._connection, name)
            row = self._connection.execute(
                f"SELECT jsonb_build_array({self._casts()})::text".encode(), self._key
            ).fetchone()
            assert row is not None
            self._remember(row[0], until)
            self.report.rows = self._delete_row()
            self._connection.execute("DELETE FROM catalog.deleted WHERE dataset = %s AND key = %s", (name, row[0]))
            patched = self._connection.execute("SELECT to_regclass(%s) IS NOT NULL", (patches(name),)).fetchone()
            if patched is not None and patched[0]:
                self._connection.execute(f"DELETE FROM {patches(name)} WHERE key = %s".encode(), (row[0],))
            self._connection.execute(
                """
                UPDATE catalog.versions SET version = version + 1, epoch = gen_random_uuid(), published_at = now(),
                    row_count = row_count - %s WHERE dataset = %s
                """,
                (self.report.rows, name),
            )
            shadow.announce(self._connection, name)
            record_audit(self._connection, "erase", name, {"rows": self.report.rows}, reason)
        return until

    def _remember(self, key: str, until: Bookmark) -> None:
        row = self._connection.execute(
            "SELECT salt FROM ingest.erased WHERE dataset = %s LIMIT 1", (self._dataset.name,)
        ).fetchone()
        salt = row[0] if row else secrets.token_bytes(16)  # one a dataset, so that a batch is hashed once
        positions = {str(entry.partition): [entry.epoch, entry.reached] for entry in until.ledger.values()}
        positions[CLOSED] = [until.epoch, 0]
        self._connection.execute(
            """
            INSERT INTO ingest.erased (dataset, key_hash, salt, positions)
            VALUES (%s, sha256(%s || convert_to(%s, 'UTF8')), %s, %s)
            ON CONFLICT (dataset, key_hash) DO UPDATE SET positions = excluded.positions, erased_at = now()
            """,
            (self._dataset.name, salt, key, salt, Jsonb(positions)),
        )

    def _delete_row(self) -> int:
        readers = shadow.readers(self._connection, self._dataset.name)
        slices: Slices = [(mart, column) for mart, column in readers if column is not None]
        row = self._connection.execute(
            f"""
            WITH removed AS (
                DELETE FROM {curated(self._dataset.name)} AS c
                WHERE ({quote_all(self._dataset.key, "c.")}) = ({self._casts()})
                RETURNING true AS changed, {returned_slices(slices, new=False)}
            ) {queue_slices(self._dataset, slices, ["removed"])}
            SELECT count(*) FROM removed
            """.encode(),
            self._key,
        ).fetchone()
        assert row is not None
        if row[0]:
            self.report.marts = tuple(mart for mart, _ in readers)
            # a mart that a change of this input does not dirty may hold the key all the same
            shadow.queue_all(self._connection, self._dataset.name, [mart for mart, column in readers if column is None])
        return int(row[0])

    def clear_raw(self, until: Bookmark) -> None:
        """Every record of the key that raw holds of the time before."""
        for batch in RawFeed(self._dataset, self._dataset, self._settings).batches(self._connection, None, until):
            self.report.raw += self._delete(self._places(batch.decoder, batch.records, batch.epochs.tolist(), until))

    def clear_quarantine(self, until: Bookmark) -> None:
        """Every record in quarantine that says it is of the key, resolved or not."""
        decoders = {
            False: Decoder(self._dataset, self._settings),
            True: Decoder(plain(self._dataset), self._settings),
        }
        after = 0
        while lines := all_records(self._connection, self._dataset.name, AT_ONCE, after=after):
            after = lines[-1].id
            for is_file, decoder in decoders.items():
                some = [line for line in lines if (line.epoch == FILE_EPOCH) == is_file]
                records = Records.of(line.record for line in some)
                places = self._places(decoder, records, [line.epoch for line in some], until)
                self.report.quarantined += self._delete(places)

    def _places(
        self, decoder: Decoder, records: Records, epochs: Sequence[int], until: Bookmark
    ) -> list[tuple[int, int, int]]:
        """Where records of the key stand, of those before the erasure."""
        found = []
        for record, epoch, key in zip(records, epochs, keys_of(decoder, records), strict=True):
            if key != self._key:
                continue
            entry = until.ledger.get(record.partition)
            end = (until.epoch, 0) if entry is None else (entry.epoch, entry.reached)
            if epoch < 0 or (epoch, record.offset) < end:
                found.append((epoch, record.partition, record.offset))
        return found

    def _delete(self, places: list[tuple[int, int, int]]) -> int:
        """The records at those places out of raw and quarantine; reconciliation counts them as filtered."""
        if not places:
            return 0
        at = '(SELECT * FROM unnest(%s::int[], %s::int[], %s::bigint[]) AS p (epoch, partition, "offset"))'
        columns = [list(column) for column in zip(*places, strict=True)]
        with self._connection.transaction():
            self._connection.execute(
                f"""
                UPDATE ingest.ranges r SET loaded = loaded - (gone.count - gone.bad), filtered = filtered + gone.count,
                    quarantined = quarantined - gone.bad
                FROM (
                    SELECT r.epoch, r.partition, r.start_offset, count(*), count(q.id) AS bad
                    FROM {at} p
                    JOIN ingest.ranges r ON r.dataset = %s AND r.epoch = p.epoch AND r.partition = p.partition
                        AND p."offset" >= r.start_offset AND p."offset" < r.end_offset
                    LEFT JOIN ingest.quarantine q ON q.dataset = r.dataset AND q.epoch = p.epoch
                        AND q.partition = p.partition AND q."offset" = p."offset"
                    GROUP BY r.epoch, r.partition, r.start_offset
                ) gone
                WHERE r.dataset = %s AND (r.epoch, r.partition, r.start_offset)
                    = (gone.epoch, gone.partition, gone.start_offset)
                """.encode(),
                (*columns, self._dataset.name, self._dataset.name),
            )
            removed = 0
            for table, condition in ((raw(self._dataset.name), "true"), ("ingest.quarantine", "t.dataset = %s")):
                arguments = [*columns, self._dataset.name] if "%s" in condition else columns
                removed += self._connection.execute(
                    f"""
                    DELETE FROM {table} t USING {at} p
                    WHERE (t.epoch, t.partition, t."offset") = (p.epoch, p.partition, p."offset") AND {condition}
                    """.encode(),
                    arguments,
                ).rowcount
        return removed

    def _casts(self) -> str:
        return ", ".join(f"%s::{self._dataset.column(name).sql_type}" for name in self._dataset.key)
