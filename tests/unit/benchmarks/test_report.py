"""Figures of the comparison are medians, and a peer with wrong rows is no peer."""

import json

from benchmarks.ingest.measure import Usage
from benchmarks.ingest.report import Result, Run, result, summary, table


def of_runs(name: str, kind: str, *cpu: float, wall: float = 11.0, wrong: int = 0) -> Result:
    start = Usage(1.0, 1.0, 0)
    runs = [Run(Usage(seconds, wall, 200_000_000), start, 3.0, wrong) for seconds in cpu]
    return result(name, kind, "as documented", 1_000_000, runs)


def test_a_result_is_the_median_without_the_start() -> None:
    one = of_runs("dlt", "peer", 11.0, 900.0, 3.0)
    assert (one.cpu, one.start_cpu, one.wall) == (11.0, 1.0, 10.0)
    assert one.rows_per_cpu_second == 100_000


def test_the_worst_run_says_how_many_rows_are_wrong() -> None:
    start = Usage(1.0, 1.0, 0)
    runs = [Run(Usage(2.0, 2.0, 1), start, 1.0, wrong) for wrong in (0, 7, 0)]
    assert result("dlt", "peer", "", 10, runs).wrong == 7


def test_the_last_line_compares_with_the_best_peer_whose_rows_are_right() -> None:
    results = [
        of_runs("Pista, confluent-kafka", "pista", 6.0, wall=12.5),
        of_runs("Pista, kafka-python", "pista", 11.0),
        of_runs("SQL floor", "floor", 1.1),
        of_runs("dlt", "peer", 21.0),
        of_runs("Kafka Connect", "peer", 101.0),
        of_runs("fast and wrong", "peer", 2.0, wrong=1),
    ]
    assert json.loads(summary(results)) == {
        "pista_confluent_rows_per_cpu_s": 200_000,
        "pista_kafka_python_rows_per_cpu_s": 100_000,
        "best_peer": "dlt",
        "ratio_cpu_best_peer": 4.0,
        "ratio_wall_sql_floor": 0.87,
        "peak_rss_mb": 200,
        "exact": True,
    }


def test_what_did_not_run_is_null_and_wrong_rows_of_ours_are_not_exact() -> None:
    line = json.loads(summary([of_runs("Pista, kafka-python", "pista", 11.0, wrong=1)]))
    assert line["exact"] is False
    assert (line["best_peer"], line["ratio_cpu_best_peer"], line["pista_confluent_rows_per_cpu_s"]) == (None,) * 3


def test_the_table_names_wrong_rows_and_missing_peers() -> None:
    text = table([of_runs("dlt", "peer", 11.0, wrong=1234)], {"Bento": "there is no `go` on the path."})
    assert "| dlt | 100,000 | 11.0 | 1.0 | 3.0 | 10.0 | 100,000 | 200 | **1,234 wrong** |" in text
    assert "MISSING Bento: there is no `go` on the path." in text
