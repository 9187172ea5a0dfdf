"""What a changed contract may do to tables that are served, and what it may not."""

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from pista.contracts.dataset import Coercion, Column, Dataset, Filter, Kind, LogicalType, Merge, Origin, Pii
from pista.warehouse.migrate import MigrationChangedError, migrate
from pista.warehouse.tables import BreakingChangeError

COLUMNS = (
    Column("id", "id", LogicalType.STRING, "text", required=True),
    Column("pax", "pax", LogicalType.INTEGER, "smallint", description="Passengers; the crew's not in it."),
    Column("passport", "passport", LogicalType.STRING, "text", classification="pii", served=False),
    Column("seen_at", "seen_at", LogicalType.TIMESTAMP, "timestamptz", zone="America/New_York"),
)
LEGS = Dataset("legs", "1.0.0", Kind.UPSERT, COLUMNS, ("id",), description="Legs.", topic="t", contract_hash="1")


@pytest.fixture
def served(database: object) -> str:
    """A database in which one row of the dataset is served."""
    dsn: str = database.admin_dsn  # type: ignore[attr-defined]
    migrate(dsn, {"legs": LEGS})
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO curated.legs VALUES ('a', 1, 'X1', now(), 1, now(), 0, now(), 0, 0)")
        connection.execute("UPDATE catalog.versions SET version = 1, row_count = 1")
    return dsn


def test_migrating_twice_changes_nothing(served: str) -> None:
    assert migrate(served, {"legs": LEGS}).changed == []


def test_a_nullable_column_is_added_and_a_type_widened(served: str) -> None:
    columns = (COLUMNS[0], replace(COLUMNS[1], sql_type="bigint"), *COLUMNS[2:])
    columns += (Column("gate", "gate", LogicalType.STRING, "text"),)
    assert migrate(served, {"legs": replace(LEGS, columns=columns)}).changed == [
        "widened curated.legs.pax from smallint to bigint",
        "added column curated.legs.gate text",
    ]
    with psycopg.connect(served) as connection:
        assert connection.execute("SELECT id, pax, gate FROM curated.legs").fetchall() == [("a", 1, None)]


def broken(position: int, **changes: object) -> Callable[[Dataset], Dataset]:
    def change(dataset: Dataset) -> Dataset:
        columns = list(dataset.columns)
        columns[position] = replace(columns[position], **changes)  # type: ignore[arg-type]
        return replace(dataset, columns=tuple(columns))

    return change


REFUSED = [
    (lambda d: replace(d, columns=d.columns[:1] + d.columns[2:]), "column pax is no longer in the contract"),
    (broken(1, logical_type=LogicalType.STRING, sql_type="text"), "column pax is smallint and cannot become text"),
    (broken(1, required=True), "column pax became required"),
    (
        lambda d: replace(d, columns=(*d.columns, Column("g", "g", LogicalType.STRING, "text", required=True))),
        "new column g is required",
    ),
    (lambda d: replace(d, topic="other"), "topic was t and is now other"),
    (lambda d: replace(d, key=("id", "pax")), "key was id and is now id, pax"),
    (lambda d: replace(d, ordering="pax"), "ordering was none and is now pax"),
    (lambda d: replace(d, kind=Kind.APPEND, key=()), "kind was upsert and is now append"),
    (broken(3, zone="Europe/Madrid"), "the zone of seen_at was America/New_York and is now Europe/Madrid"),
    (broken(3, zone=None), "the zone of seen_at was America/New_York and is now none"),
    (broken(1, source="seats"), "the source of pax was value, pax and is now value, seats"),
    (broken(1, path=("load", "pax")), "the source of pax was value, pax and is now value, load, pax"),
    (broken(1, origin=Origin.KEY), "the source of pax was value, pax and is now key, pax"),
    (broken(1, coercion=Coercion.TEXT), "the coercion of pax was none and is now text"),
    (broken(3, time_format="%d.%m.%Y"), "the time_format of seen_at was none and is now"),
    (broken(1, pii=Pii.HASH), "the pii of pax was none and is now hash.*hold it in clear.*--from topic"),
    (broken(0, pattern="[b-z]"), r"the pattern of id was none and is now \[b-z\]"),
    (broken(1, minimum=2), "the minimum of pax was none and is now 2.*1 served rows break the new rule"),
    (broken(1, enum=(2, 3)), "the enum of pax was none and is now 2, 3.*1 served rows break"),
    (broken(0, min_length=2), "the minLength of id was none and is now 2.*1 served rows break"),
    (broken(3, maximum="2013-01-01T00:00:00"), "the maximum of seen_at was none and is now 2013.*1 served rows break"),
    (lambda d: replace(d, merge=Merge.PATCH), "merge was replace and is now patch.*rebuild legs --from raw"),
    (lambda d: replace(d, debezium=True), "envelope was none and is now debezium"),
    (lambda d: replace(d, where=(Filter("t", Origin.VALUE, ("t",), (1,)),)), "where was none and is now.*from topic"),
]

LOOSER = (
    replace(COLUMNS[0], pattern=None, min_length=None, description="Its name."),
    replace(COLUMNS[1], enum=(1, 2, 3), minimum=0, maximum=9, examples=(1,), unit="1"),
    *COLUMNS[2:],
)


def test_loosened_rules_and_words_need_a_contract_edit_only(served: str) -> None:
    strict = (
        replace(COLUMNS[0], pattern="[a-z]", min_length=1),
        replace(COLUMNS[1], enum=(1, 2), minimum=1, maximum=5),
    )
    with psycopg.connect(served) as connection:  # as if it had been applied so from the start
        connection.execute("DELETE FROM catalog.datasets WHERE name = 'legs'")
    migrate(served, {"legs": replace(LEGS, columns=(*strict, *COLUMNS[2:]))})
    with psycopg.connect(served) as connection:
        connection.execute("UPDATE catalog.versions SET version = 1, row_count = 1")
    migrate(served, {"legs": replace(LEGS, columns=LOOSER, contract_hash="2")})
    # and a tightened rule that every served row keeps
    migrate(served, {"legs": replace(LEGS, columns=(LOOSER[0], replace(LOOSER[1], maximum=2), *COLUMNS[2:]))})


def test_a_contract_applied_before_shapes_were_kept_is_compared_from_now_on(served: str) -> None:
    renamed = broken(1, source="seats")(LEGS)
    with psycopg.connect(served) as connection:
        connection.execute("UPDATE catalog.datasets SET shape = NULL")
    migrate(served, {"legs": renamed})
    with pytest.raises(BreakingChangeError, match="the source of pax"):
        migrate(served, {"legs": LEGS})


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_a_breaking_change_is_refused_with_the_way_on_and_leaves_everything_as_it_was(
    served: str, change: Callable[[Dataset], Dataset], sentence: str
) -> None:
    with pytest.raises(BreakingChangeError, match=f"dataset legs: .*{sentence}"):
        migrate(served, {"legs": change(LEGS)})
    assert migrate(served, {"legs": LEGS}).changed == []


def test_an_empty_dataset_may_change_at_will(database: object) -> None:
    dsn: str = database.admin_dsn  # type: ignore[attr-defined]
    migrate(dsn, {"legs": LEGS})
    changed = migrate(dsn, {"legs": broken(1, logical_type=LogicalType.STRING, sql_type="text")(LEGS)}).changed
    assert changed == ["created table curated.legs with 4 columns"]


def test_a_dataset_without_a_contract_is_retired_and_keeps_its_rows(served: str) -> None:
    migrate(served, {})
    with psycopg.connect(served) as connection:
        assert connection.execute("SELECT served FROM catalog.datasets WHERE name = 'legs'").fetchone() == (False,)
        assert connection.execute("SELECT count(*) FROM curated.legs").fetchone() == (1,)
    migrate(served, {"legs": LEGS})
    with psycopg.connect(served) as connection:
        assert connection.execute("SELECT served FROM catalog.datasets WHERE name = 'legs'").fetchone() == (True,)


def test_the_api_cannot_see_what_the_contract_hides(served: str, database: object) -> None:
    with psycopg.connect(database.api_dsn, autocommit=True) as connection:  # type: ignore[attr-defined]
        assert connection.execute("SELECT id, pax, _version FROM curated.legs").fetchall() == [("a", 1, 1)]
        columns = connection.execute("SELECT name FROM catalog.columns WHERE dataset = 'legs'").fetchall()
        assert columns == [("id",), ("pax",), ("seen_at",)]
        for forbidden in (
            "SELECT passport FROM curated.legs",
            "SELECT * FROM curated.legs",
            "SELECT count(*) FROM raw.legs",
            "SELECT * FROM ingest.quarantine",
            "SELECT * FROM access.keys",
            "SELECT ingest.ensure_raw_partition('legs', current_date)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("INSERT INTO curated.legs (id) VALUES ('b')")
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO curated.legs (id) VALUES ('b')")


def test_a_column_that_becomes_personal_is_no_longer_granted(served: str, database: object) -> None:
    migrate(served, {"legs": broken(1, classification="pii", served=False)(LEGS)})
    with (
        psycopg.connect(database.api_dsn) as connection,  # type: ignore[attr-defined]
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT pax FROM curated.legs")


def test_ingestion_cannot_touch_contracts_or_keys(served: str, database: object) -> None:
    with psycopg.connect(database.ingest_dsn, autocommit=True) as connection:  # type: ignore[attr-defined]
        for forbidden in (
            "UPDATE catalog.datasets SET served = false",
            "SELECT * FROM access.keys",
            "DROP TABLE curated.legs",
            "DELETE FROM raw.legs",
            "CREATE TABLE curated.mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


def test_an_edited_migration_is_refused(served: str) -> None:
    with psycopg.connect(served) as connection:
        connection.execute("UPDATE catalog.migrations SET checksum = 'x' WHERE name = '0002_catalog.sql'")
    with pytest.raises(MigrationChangedError, match=r"migration 0002_catalog\.sql was applied with other contents"):
        migrate(served, {"legs": LEGS})


def test_comments_carry_the_contract(served: str) -> None:
    with psycopg.connect(served) as connection:
        row = connection.execute(
            "SELECT obj_description('curated.legs'::regclass), col_description('curated.legs'::regclass, 2)"
        ).fetchone()
    assert row == ("Legs.", "Passengers; the crew's not in it.")
