"""The comparison of ingestion runs, and sees wrong rows: Pista and the floor, on a few messages."""

from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.ingest.__main__ import CLIENTS, compare
from benchmarks.ingest.report import summary, table
from benchmarks.ingest.servers import Servers, database, servers
from benchmarks.ingest.topic import expected_rows, messages


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as running:
        yield running


def test_pista_and_the_floor_end_with_the_right_rows(running: Servers) -> None:
    results, missing = compare(running, [CLIENTS[name] for name in ("kafka-python", "floor", "copy")], 2_000, 1)
    assert missing == {}
    assert [one.wrong for one in results] == [0, 0, 0]
    pista = results[0]
    assert (pista.cpu > 0, pista.postgres_cpu > 0, pista.peak_rss > 0) == (True, True, True)
    assert '"exact": true' in summary(results)
    assert "exact" in table(results, missing)


def test_a_row_that_is_not_as_it_must_be_is_seen(running: Servers) -> None:
    expected = Counter(expected_rows(messages(100)))
    with database(running) as empty:
        empty.create_table()
        columns = ", ".join(f"('{line.replace(chr(9), chr(39) + ', ' + chr(39))}')" for line in expected)
        running.execute(empty.name, f"INSERT INTO public.flights VALUES {columns}".replace(r"'\N'", "NULL"))
        assert Counter(empty.rows("public.flights")) == expected
        running.execute(empty.name, "UPDATE public.flights SET distance = distance + 1 WHERE carrier = 'UA'")
        assert (expected - Counter(empty.rows("public.flights"))).total() > 0
