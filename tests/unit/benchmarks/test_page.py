"""The page of benchmarks describes every client of the comparison, in the version that is measured."""

import re
from pathlib import Path

from benchmarks.ingest.__main__ import CLIENTS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_every_client_has_its_figures_and_the_version_it_runs_in() -> None:
    for client in CLIENTS.values():
        assert f"| {client.name} |" in PAGE
        assert set(re.findall(r"\d+\.\d+\.\d+", client.configuration)) <= set(re.findall(r"\d+\.\d+\.\d+", PAGE))


def test_the_versions_are_those_that_are_locked() -> None:
    peers = ROOT / "benchmarks" / "peers"
    assert "dlt==1.31.0 " in (peers / "dlt.txt").read_text()
    assert "pathway==0.33.0 " in (peers / "pathway.txt").read_text()
    assert "bento v1.10.0" in (peers / "bento" / "go.mod").read_text()
    lock = (peers / "kafka_connect.lock").read_text()
    assert 'artifactId = "debezium-connector-jdbc"\nversion = "3.5.0.Final"' in lock
    assert 'artifactId = "connect-runtime"\nversion = "4.3.1"' in lock


def test_no_lock_names_an_index() -> None:
    for file in (ROOT / "benchmarks" / "peers").glob("*.txt"):
        assert "://" not in file.read_text(), file.name
