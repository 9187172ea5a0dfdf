"""Erasing a key and dropping a dataset: nothing of them is left, and nothing of the rest is touched."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from pista.cli import main
from pista.contracts.dataset import Merge, Pii
from pista.ingest import again
from pista.ingest import erase as erasing
from pista.ingest.dropping import DropRefusedError, drop
from pista.ingest.erase import EraseRefusedError, EraseReport, erase
from pista.ingest.fileload import load_file
from pista.ingest.rebuild import Source, rebuild
from pista.settings import get_settings
from pista.warehouse.connection import connect

from .conftest import Lab, event
from .test_rebuild import MART

SECRET = "Ramona-Q"  # the key that shall be gone


def everywhere(lab: Lab, text: str) -> list[str]:
    """Tables of the whole database in which the text stands, as text or as bytes."""
    found = []
    for schema, name in lab.query(
        """
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        """
    ):
        if lab.value(
            f'SELECT EXISTS (SELECT FROM {schema}."{name}" t WHERE t::text LIKE %s OR t::text LIKE %s)',
            f"%{text}%",
            f"%{text.encode().hex()}%",
        ):
            found.append(f"{schema}.{name}")
    return sorted(found)


def run_erase(lab: Lab, *key: str) -> EraseReport:
    return erase(lab.admin_dsn, lab.dataset, lab.settings, key, reason="asked for")


def replay_all(lab: Lab) -> None:
    ranges = {p: (0, end) for p, end in lab.query("SELECT partition, next_offset FROM ingest.ledger") if end}
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        list(again.replay(connection, lab.dataset, lab.settings, ranges, run_id="replay"))
        again.retry(connection, lab.dataset, lab.settings, run_id="retry")


def fill(lab: Lab, tmp_path: Path) -> Path:
    lab.produce([event("other", pax=1), event(SECRET, pax=1), event(SECRET, pax=2, passport="X1")])
    # bad records that say whose they are: by their value, and by their Kafka key alone
    lab.produce([event(SECRET, state="odd"), (SECRET.encode(), b"{"), event("other", state="odd")])
    lab.produce([(SECRET.encode(), None), event(SECRET, pax=3)])
    lab.drain()
    file = tmp_path / "history.ndjson"
    file.write_text(f'{{"id": "{SECRET}"}}\n{{"id": "{SECRET}", "pax": "many"}}\n{{"id": "old"}}\n', encoding="utf-8")
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        load_file(connection, lab.dataset, lab.settings, file, run_id="load", on_batch=lambda _: None)
    return file


@pytest.mark.parametrize("merge", list(Merge))
def test_an_erased_key_is_nowhere_and_never_comes_back(lab: Lab, tmp_path: Path, merge: Merge) -> None:
    if merge is Merge.PATCH:
        lab.dataset = replace(lab.dataset, merge=merge, contract_hash="patched")
    lab.migrate(MART)
    file = fill(lab, tmp_path)
    tables = {"curated.legs", "ingest.quarantine"}
    assert tables | ({"patches.legs"} if merge is Merge.PATCH else set()) <= set(everywhere(lab, SECRET))
    epoch = lab.value("SELECT epoch FROM catalog.versions WHERE dataset = 'legs'")
    lab.query("DELETE FROM ingest.changed_slices RETURNING 1")
    lab.reconcile()

    report = run_erase(lab, SECRET)

    assert (report.rows, report.raw, report.quarantined, report.marts) == (1, 5, 3, ("by_day",))
    assert everywhere(lab, SECRET) == []
    assert lab.value("SELECT epoch FROM catalog.versions WHERE dataset = 'legs'") != epoch
    assert lab.query("SELECT slice FROM ingest.changed_slices") == [("2013-01-01",)]
    assert lab.query("SELECT command, reason, detail FROM ingest.audit") == [("erase", "asked for", {"rows": 1})]
    lab.reconcile()

    replay_all(lab)
    assert everywhere(lab, SECRET) == []
    copy = tmp_path / "again.ndjson"  # other contents, so another load
    copy.write_text(file.read_text(encoding="utf-8") + '{"id": "older"}\n', encoding="utf-8")
    with connect(str(lab.settings.ingest_dsn.get_secret_value()), "test") as connection:  # type: ignore[union-attr]
        load_file(connection, lab.dataset, lab.settings, copy, run_id="load", on_batch=lambda _: None)
    assert everywhere(lab, SECRET) == []
    for source in Source:
        rebuild(lab.admin_dsn, lab.dataset, lab.settings, source, accept_loss=source is Source.TOPIC)
        assert everywhere(lab, SECRET) == []
        assert lab.value("SELECT count(*) FROM curated.legs WHERE id = 'other'") == 1
    lab.reconcile()

    # what happens from now on is new
    lab.produce([event(SECRET, pax=7)])
    lab.drain()
    assert lab.query("SELECT pax FROM curated.legs WHERE id = %s", SECRET) == [(7,)]
    replay_all(lab)
    assert lab.query("SELECT pax FROM curated.legs WHERE id = %s", SECRET) == [(7,)]
    assert run_erase(lab, SECRET).raw == 1
    assert everywhere(lab, SECRET) == []


def test_nothing_is_lost_of_the_others(lab: Lab, tmp_path: Path) -> None:
    fill(lab, tmp_path)
    raw = lab.query(
        "SELECT partition, \"offset\" FROM raw.legs WHERE convert_from(value, 'UTF8') NOT LIKE %s", f"%{SECRET}%"
    )
    quarantined = lab.query("SELECT id FROM ingest.quarantine WHERE key = 'other'")
    run_erase(lab, SECRET)
    assert sorted(lab.query('SELECT partition, "offset" FROM raw.legs')) == sorted(raw)
    assert lab.query("SELECT id FROM ingest.quarantine") == quarantined
    assert lab.query("SELECT row_count FROM catalog.versions WHERE dataset = 'legs'") == [(2,)]


def test_a_hashed_key_is_erased_by_its_text(lab: Lab, tmp_path: Path) -> None:
    columns = (replace(lab.dataset.columns[0], pii=Pii.HASH), *lab.dataset.columns[1:])
    lab.dataset = replace(lab.dataset, columns=columns, contract_hash="hashed")
    lab.settings = lab.settings.model_copy(update={"pii_secret": SecretStr("s3cret")})
    lab.migrate()
    fill(lab, tmp_path)
    assert everywhere(lab, SECRET) == ["ingest.quarantine"]
    (hashed,) = lab.query("SELECT id FROM curated.legs WHERE pax = 3")[0]
    run_erase(lab, SECRET)
    assert everywhere(lab, SECRET) == []
    assert everywhere(lab, hashed) == []
    replay_all(lab)
    assert everywhere(lab, hashed) == []


def test_what_is_to_be_read_again_is_of_the_past_too(lab: Lab) -> None:
    lab.produce([event(SECRET), event("other")], partition=0)
    lab.drain()
    # an operator moved the ledger back, and drains have not come so far again
    lab.query("UPDATE ingest.ledger SET next_offset = 0, reread_until = 2 WHERE partition = 0 RETURNING 1")
    assert run_erase(lab, SECRET).raw == 1
    lab.drain()
    assert everywhere(lab, SECRET) == []
    assert lab.query("SELECT id FROM curated.legs") == [("other",)]
    lab.reconcile()


def test_partitions_that_were_closed_are_of_the_past_too(lab: Lab) -> None:
    lab.produce([event(SECRET, pax=1), event("other")], partition=1)
    lab.produce([event("k")], partition=0)
    lab.drain()
    # what `pista offsets accept-loss` makes of a topic that lost a partition
    lab.execute("DELETE FROM ingest.ledger WHERE partition = 1")
    lab.execute("UPDATE ingest.ledger SET epoch = 1, epoch_offset = next_offset")

    lab.execute("CREATE TABLE public.copy AS SELECT * FROM raw.legs")
    assert run_erase(lab, SECRET).raw == 1
    assert lab.value("SELECT count(*) FROM raw.legs") == 2
    # as from a backup: whatever brings the record again, it stays of the past
    lab.execute("TRUNCATE raw.legs; INSERT INTO raw.legs SELECT * FROM public.copy")
    rebuild(lab.admin_dsn, lab.dataset, lab.settings, Source.RAW, accept_loss=True)
    assert lab.query("SELECT id FROM curated.legs ORDER BY id") == [("k",), ("other",)]


def test_a_mart_that_changes_do_not_dirty_is_built_anew_for_an_erasure(lab: Lab) -> None:
    lab.migrate(replace(MART, inputs=(replace(MART.inputs[0], slice_column=None),)))
    lab.produce([event(SECRET)])
    lab.drain()
    lab.execute("DELETE FROM ingest.changed_slices")

    assert run_erase(lab, SECRET).marts == ("by_day",)
    assert lab.query("SELECT mart, slice, input FROM ingest.changed_slices") == [("by_day", "*", "legs")]


def test_an_erasure_that_was_broken_off_is_finished_by_the_same_call(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lab, tmp_path)

    class CutError(Exception):
        pass

    def cut(*_: object) -> None:
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(erasing._Erasure, "clear_raw", cut)
        with pytest.raises(CutError):
            run_erase(lab, SECRET)
    assert lab.query("SELECT FROM curated.legs WHERE id = %s", SECRET) == []
    replay_all(lab)
    assert "curated.legs" not in everywhere(lab, SECRET)
    report = run_erase(lab, SECRET)
    assert (report.rows, report.raw, report.quarantined) == (0, 5, 3)
    assert everywhere(lab, SECRET) == []
    lab.reconcile()


def test_what_erase_refuses(append_lab: Lab, lab: Lab) -> None:
    with pytest.raises(EraseRefusedError, match="dataset facts has no key"):
        run_erase(append_lab, "a")
    lab.dataset = replace(lab.dataset, name="legs", key=("pax",), kind="upsert")  # type: ignore[arg-type]
    with pytest.raises(EraseRefusedError, match=r"no key of legs: invalid input syntax for type integer"):
        run_erase(lab, "many")
    with pytest.raises(EraseRefusedError, match="the key of legs is pax; give a value for each"):
        run_erase(lab, "1", "2")


@pytest.fixture
def command(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The `pista` command on the lab's servers, with an empty folder of contracts."""
    (tmp_path / "datasets").mkdir()
    settings = lab.settings
    for name, value in {
        "PISTA_HOME": str(tmp_path / "home"),
        "PISTA_DATASETS_DIR": str(tmp_path / "datasets"),
        "PISTA_KAFKA_BOOTSTRAP": str(settings.kafka_bootstrap),
        "PISTA_POSTGRES_DSN": lab.admin_dsn,
        "PISTA_INGEST_DSN": str(settings.ingest_dsn.get_secret_value()),  # type: ignore[union-attr]
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()

    def run(*arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=given, catch_exceptions=False)

    yield run  # type: ignore[misc]
    get_settings.cache_clear()


def test_a_dropped_dataset_is_gone_and_its_topic_is_not(
    lab: Lab, command: Callable[..., Result], tmp_path: Path
) -> None:
    lab.migrate(MART)
    fill(lab, tmp_path)
    with pytest.raises(DropRefusedError, match="dataset legs is read by by_day"):
        drop(lab.admin_dsn, "legs", reason="x")
    lab.migrate()  # the mart's contract is gone
    contract = tmp_path / "datasets" / "legs.yaml"
    contract.touch()
    answer = command("dataset", "drop", "legs", "--reason", "moved")
    assert (answer.exit_code, "legs.yaml is there" in answer.output) == (1, True)
    contract.unlink()
    answer = command("dataset", "drop", "legs", "--reason", "moved", given="n\n")
    assert answer.exit_code == 1
    assert "legs has 3 rows, 7 raw records and 4 records in quarantine." in answer.output
    assert lab.value("SELECT count(*) FROM curated.legs") == 3

    answer = command("dataset", "drop", "legs", "--reason", "moved", "--yes")
    assert answer.exit_code == 0
    assert f"legs is gone. The topic {lab.dataset.topic} is not touched." in answer.output
    assert lab.query("SELECT relname FROM pg_class WHERE relname LIKE 'legs%%'") == []
    of_datasets = lab.query(
        "SELECT table_schema || '.' || table_name FROM information_schema.columns WHERE column_name = 'dataset'"
    )
    assert len(of_datasets) > 8
    left = [t for (t,) in of_datasets if lab.value(f"SELECT EXISTS (SELECT FROM {t} WHERE dataset = 'legs')")]
    assert left == ["ingest.audit"]
    assert lab.query("SELECT FROM catalog.datasets WHERE name = 'legs'") == []
    assert lab.query("SELECT command, dataset, reason FROM ingest.audit") == [("dataset drop", "legs", "moved")]
    assert "the database has no dataset legs" in command("dataset", "drop", "legs", "--reason", "x", "--yes").output

    # and may begin again
    lab.migrate()
    lab.drain()
    assert lab.value("SELECT count(*) FROM curated.legs") == 2


def test_a_retired_mart_can_be_dropped(lab: Lab) -> None:
    lab.migrate(MART)
    lab.migrate()
    assert drop(lab.admin_dsn, "by_day", reason="x").kind == "mart"
    assert lab.query("SELECT name FROM catalog.datasets WHERE name = 'by_day'") == []


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: people
name: people
version: 1.0.0
status: active
servers:
  - {{server: kafka, type: kafka, host: localhost, format: json}}
schema:
  - name: people
    physicalName: {topic}
    properties:
      - {{name: id, logicalType: string, primaryKey: true, required: true}}
      - {{name: pax, logicalType: integer}}
"""


def test_the_commands_say_what_they_did(
    lab: Lab, command: Callable[..., Result], create_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = create_topic()
    (tmp_path / "datasets" / "people.yaml").write_text(CONTRACT.format(topic=topic), encoding="utf-8")
    answer = command("migrate")
    assert answer.exit_code == 0, answer.output
    file = tmp_path / "people.ndjson"
    file.write_text("".join(json.dumps({"id": f"p{n}", "pax": n}) + "\n" for n in range(3)), encoding="utf-8")
    assert (
        f"{file}: load 1 has 3 records, 3 loaded, 0 in quarantine."
        in command("dataset", "load", "people", str(file)).output
    )
    assert "was loaded before, as load 1: nothing to do." in command("dataset", "load", "people", str(file)).output

    answer = command("dataset", "rebuild", "people", "--from", "topic")
    assert answer.exit_code == 1
    assert "the topic lacks the 3 records of load 1, which came from a file" in answer.output
    answer = command("dataset", "rebuild", "people", "--from", "raw")
    assert answer.output.endswith("people was rebuilt from raw: 3 rows of 3 records are served.\n")

    answer = command("erase", "people", "p1", "--reason", "asked for")
    assert answer.exit_code == 0
    assert "Erased: 1 rows, 1 raw records, 0 records in quarantine." in answer.output
    assert f"The topic {topic} still holds the records" in answer.output
    assert "no dataset is named persons" in command("erase", "persons", "p1", "--reason", "x").output
