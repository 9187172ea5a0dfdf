"""A paused dataset: once the command returns, nothing of it is committed."""

import threading

from rich.console import Console

from pista.ingest.drain import DrainReport, drain
from pista.ingest.lag import measure_lag
from pista.local.console import table
from pista.local.served import served

from .conftest import Command, Lab, event


def test_a_paused_dataset_is_not_loaded_until_it_is_resumed(lab: Lab, command: Command) -> None:
    lab.produce([event("a")], partition=0)
    paused = command("dataset", "pause", "legs", "--reason", "the producer sends nonsense")
    assert paused.exit_code == 0, paused.output
    assert lab.drain().outcome == "paused"
    assert lab.value("SELECT count(*) FROM curated.legs") == 0
    lag = measure_lag([lab.dataset], lab.settings)["legs"]
    assert lag.records == 1
    assert str(lag.pause).endswith("UTC: the producer sends nonsense")
    assert "the producer sends nonsense" in command("offsets", "show", "legs").output
    shown = {one.name: one for one in served({"legs": lab.dataset}, lab.settings)}["legs"]
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table([shown]))
    assert "paused: the producer sends nonsense" in captured.get()
    again = command("dataset", "pause", "legs", "--reason", "x")
    assert again.exit_code == 1
    assert "the producer sends nonsense" in again.output
    assert command("dataset", "resume", "legs").exit_code == 0
    assert command("dataset", "resume", "legs").exit_code == 1
    assert lab.drain().loaded == 1
    assert lab.query("SELECT command, dataset, reason FROM ingest.audit ORDER BY id") == [
        ("dataset pause", "legs", "the producer sends nonsense"),
        ("dataset resume", "legs", None),
    ]


def test_a_warm_drain_stops_within_a_batch(lab: Lab, command: Command) -> None:
    lab.produce([event(str(n)) for n in range(1_000)], partition=0)
    committed = []

    def pause_once(_report: object) -> None:
        if not committed:
            assert command("dataset", "pause", "legs", "--reason", "x").exit_code == 0
            committed.append(lab.value("SELECT count(*) FROM raw.legs"))

    settings = lab.settings.model_copy(update={"batch_max_records": 50})
    report = drain(lab.dataset, settings, run_id="r", should_stop=lambda: False, on_batch=pause_once)
    assert report.outcome == "paused"
    assert lab.value("SELECT count(*) FROM raw.legs") == committed[0] < 1_000
    command("dataset", "resume", "legs")
    lab.drain()
    assert lab.value("SELECT count(*) FROM raw.legs") == 1_000
    lab.reconcile()


def test_an_idle_drain_stops_too(lab: Lab, command: Command) -> None:
    lab.produce([event("a")], partition=0)
    reports: list[DrainReport] = []
    loaded = threading.Event()

    def work() -> None:
        reports.append(
            drain(lab.dataset, lab.settings, run_id="r", should_stop=lambda: False, on_batch=lambda _: loaded.set())
        )

    thread = threading.Thread(target=work)
    thread.start()
    assert loaded.wait(60)
    command("dataset", "pause", "legs", "--reason", "x")
    thread.join(60)
    assert [report.outcome for report in reports] == ["paused"]
