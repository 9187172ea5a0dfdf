"""`pista dataset new`, `pista apply` and `pista produce` against a real Kafka and a real PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from pista.cli import main
from pista.commands.applying import ApplyError, contract_hashes, row_counts, wait_until_loaded
from pista.contracts.dataset import Kind
from pista.contracts.loading import load_datasets
from pista.ingest.drain import drain
from pista.kafka.topics import describe_topics
from pista.settings import Settings, get_settings
from pista.warehouse.migrate import migrate

CreateTopic = Callable[..., str]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, kafka_server: str, tmp_path: Path) -> Iterator[Path]:
    """The datasets folder of commands that know this test's Kafka, and no stack."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("PISTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PISTA_DATASETS_DIR", str(folder))
    monkeypatch.setenv("PISTA_KAFKA_BOOTSTRAP", kafka_server)
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=given, catch_exceptions=False)


def fill(kafka_server: str, topic: str, count: int) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_server)
    for n in range(count):
        value = {"id_vuelo": f"AV{n}", "Número de silla": n, "salida": f"2024-05-01T10:{n % 60:02d}:00"}
        producer.send(topic, key=f"AV{n}".encode(), value=json.dumps(value).encode())
    producer.flush(timeout=30)
    producer.close()


def test_a_contract_from_a_topic_and_records_back_to_it(
    folder: Path, kafka_server: str, create_topic: CreateTopic, tmp_path: Path
) -> None:
    topic = create_topic(partitions=3)
    fill(kafka_server, topic, 90)
    answer = run("dataset", "new", "vuelos", "--topic", topic, "--sample", "30")
    assert answer.exit_code == 0, answer.output
    vuelos = load_datasets(folder)["vuelos"]
    assert (vuelos.kind, vuelos.key, vuelos.topic) == (Kind.UPSERT, ("id_vuelo",), topic)
    assert vuelos.column("numero_de_silla").source == "Número de silla"
    assert vuelos.column("salida").zone == "UTC"
    again = run("dataset", "new", "vuelos", "--topic", topic)
    assert again.exit_code == 1
    assert "is there already" in again.output

    file = tmp_path / "more.csv"
    file.write_text("id_vuelo,Número de silla,salida\nAV90,1,2024-05-02T10:00:00\nAV91,,\n", encoding="utf-8")
    assert run("produce", "vuelos", str(file)).output == f"2 records published to {topic}.\n"
    line = '{"id_vuelo": "AV92", "Número de silla": 3, "salida": "2024-05-02T10:00:00"}\n'
    assert run("produce", "vuelos", "-", given=line).output == f"1 records published to {topic}.\n"
    state = describe_topics({"bootstrap_servers": kafka_server}, [topic])[topic]
    assert state is not None
    assert sum(state.end.values()) == 93


def test_what_new_refuses(folder: Path, create_topic: CreateTopic) -> None:
    empty = create_topic()
    for arguments, message in (
        (("vuelos", "--topic", empty), f"the topic {empty} is empty"),
        (("vuelos", "--topic", "nowhere"), "there is no topic nowhere"),
        (("Vuelos", "--topic", empty), "a dataset's name is snake_case"),
    ):
        answer = run("dataset", "new", *arguments)
        assert answer.exit_code == 1
        assert message in answer.output
    assert not list(folder.iterdir())


def test_what_produce_refuses(folder: Path, kafka_server: str, create_topic: CreateTopic) -> None:
    topic = create_topic()
    fill(kafka_server, topic, 1)
    run("dataset", "new", "vuelos", "--topic", topic)
    assert "did you mean vuelos?" in run("produce", "vuelo", "-", given="").output
    answer = run("produce", "vuelos", "-", given='{"id_vuelo": "1"}\n{}\n')
    assert answer.exit_code == 1
    assert "line 2 lacks the field 'id_vuelo', the key of vuelos" in answer.output
    path = folder / "vuelos.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(topic, "nowhere.yet"), encoding="utf-8")
    assert "the topic nowhere.yet does not exist" in run("produce", "vuelos", "-", given="{}").output


def test_apply_without_a_stack_migrates_and_makes_topics(
    folder: Path,
    kafka_server: str,
    create_topic: CreateTopic,
    database: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = create_topic()
    fill(kafka_server, topic, 1)
    run("dataset", "new", "vuelos", "--topic", topic)
    assert "PISTA_POSTGRES_DSN is not set" in run("apply").output
    monkeypatch.setenv("PISTA_POSTGRES_DSN", str(database.admin_dsn))  # type: ignore[attr-defined]
    get_settings.cache_clear()
    answer = run("apply")
    assert answer.exit_code == 0, answer.output
    assert answer.output.startswith("1 contracts are valid.\n")
    assert "No local stack runs here" in answer.output
    (folder / "vuelos.yaml").write_text("name: [", encoding="utf-8")
    answer = run("apply")
    assert answer.exit_code == 1
    assert f"{folder}/vuelos.yaml:" in answer.output


def test_apply_waits_until_what_the_topic_holds_is_loaded(
    folder: Path, kafka_server: str, create_topic: CreateTopic, settings: Settings
) -> None:
    topic = create_topic()
    fill(kafka_server, topic, 5)
    run("dataset", "new", "vuelos", "--topic", topic)
    datasets = load_datasets(folder)
    assert settings.postgres_dsn is not None
    admin_dsn = settings.postgres_dsn.get_secret_value()
    migrate(admin_dsn, datasets)
    assert contract_hashes(admin_dsn)["vuelos"] == datasets["vuelos"].contract_hash
    with pytest.raises(ApplyError, match=r"not all is loaded after 0 s: vuelos \(5 records left\)"):
        list(wait_until_loaded(datasets, settings, 0.1))
    quick = settings.model_copy(update={"drain_idle_seconds": 0.1})
    drain(datasets["vuelos"], quick, run_id="test", should_stop=lambda: False, on_batch=lambda _: None)
    ((name, lag),) = wait_until_loaded(datasets, settings, 5)
    assert (name, lag.records, row_counts(admin_dsn)["vuelos"]) == ("vuelos", 0, 5)


def test_a_nested_topic_becomes_a_table_without_a_line_of_yaml_by_hand(
    folder: Path, kafka_server: str, create_topic: CreateTopic, settings: Settings
) -> None:
    topic = create_topic()
    producer = KafkaProducer(bootstrap_servers=kafka_server)
    for n in range(3):
        leg = {"to": "MDE", "stops": [{"at": "PEI"}], "day": f"0{n + 1}/02/2026"}
        value = {"sentAt": 1_764_038_400_000 + n, "flight": {"leg": leg}, "delay": str(n), "extra": {}}
        producer.send(topic, key=json.dumps({"id": n}).encode(), value=json.dumps(value).encode())
    producer.send(topic, key=b'{"id": 0}', value=None)
    producer.flush(timeout=30)
    producer.close()
    assert run("dataset", "new", "legs", "--topic", topic).exit_code == 0
    answer = run("dataset", "check", "legs")
    assert answer.exit_code == 0, answer.output
    datasets = load_datasets(folder)
    assert settings.postgres_dsn is not None
    admin_dsn = settings.postgres_dsn.get_secret_value()
    migrate(admin_dsn, datasets)
    quick = settings.model_copy(update={"drain_idle_seconds": 0.1})
    drain(datasets["legs"], quick, run_id="test", should_stop=lambda: False, on_batch=lambda _: None)
    names = "id, sent_at::text, flight_leg_to, flight_leg_stops, flight_leg_day::text, delay, extra"
    with psycopg.connect(admin_dsn, options="-c timezone=UTC") as connection:
        found = connection.execute(f"SELECT {names} FROM curated.legs ORDER BY id".encode()).fetchall()
    assert found == [
        (n, f"2025-11-25 02:40:00.00{n}+00", "MDE", [{"at": "PEI"}], f"2026-02-0{n + 1}", n, {}) for n in (1, 2)
    ]
