"""Figures of a comparison: medians, the table, and the line of JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.ingest.measure import Usage


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a client over the topic, and one over its first message, which is what a start costs."""

    whole: Usage
    start: Usage
    postgres_cpu: float  # seconds, of the whole
    wrong: int  # rows that are missing, too many, or not what they should be


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of a client's runs."""

    name: str
    kind: str
    configuration: str
    rows: int
    cpu: float  # seconds, a start included
    start_cpu: float
    postgres_cpu: float
    wall: float  # seconds, without those of a start
    peak_rss: int  # bytes
    wrong: int  # the worst run's

    @property
    def rows_per_cpu_second(self) -> float:
        """Rows a client CPU second, without what a start costs."""
        return self.rows / max(self.cpu - self.start_cpu, 1e-9)


def result(name: str, kind: str, configuration: str, rows: int, runs: Sequence[Run]) -> Result:
    """The medians of some runs."""
    return Result(
        name,
        kind,
        configuration,
        rows,
        cpu=statistics.median(run.whole.cpu for run in runs),
        start_cpu=statistics.median(run.start.cpu for run in runs),
        postgres_cpu=statistics.median(run.postgres_cpu for run in runs),
        wall=statistics.median(max(run.whole.wall - run.start.wall, 1e-9) for run in runs),
        peak_rss=int(statistics.median(run.whole.peak_rss for run in runs)),
        wrong=max(run.wrong for run in runs),
    )


def table(results: Sequence[Result], missing: Mapping[str, str]) -> str:
    """The comparison as a Markdown table, with the peers that are missing named under it."""
    lines = [
        "| | rows a client CPU-s | client CPU s | of it start | PostgreSQL CPU s | wall s | rows/s | peak MB | rows |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in results:
        outcome = "exact" if one.wrong == 0 else f"**{one.wrong:,} wrong**"
        lines.append(
            f"| {one.name} | {one.rows_per_cpu_second:,.0f} | {one.cpu:.1f} | {one.start_cpu:.1f} "
            f"| {one.postgres_cpu:.1f} | {one.wall:.1f} | {one.rows / one.wall:,.0f} "
            f"| {one.peak_rss / 1e6:,.0f} | {outcome} |"
        )
    lines += ["", *(f"- {one.name}: {one.configuration}." for one in results)]
    lines += [f"- MISSING {name}: {reason}" for name, reason in missing.items()]
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> str:
    """One line of JSON; null where a run left out what a figure is made of."""
    by_name = {one.name: one for one in results}
    confluent = by_name.get("Pista, confluent-kafka")
    kafka_python = by_name.get("Pista, kafka-python")
    floor = by_name.get("SQL floor")
    # a peer that ended with other rows has not done the work
    peers = [one for one in results if one.kind == "peer" and one.wrong == 0]
    best = max(peers, key=lambda one: one.rows_per_cpu_second, default=None)
    return json.dumps(
        {
            "pista_confluent_rows_per_cpu_s": confluent and round(confluent.rows_per_cpu_second),
            "pista_kafka_python_rows_per_cpu_s": kafka_python and round(kafka_python.rows_per_cpu_second),
            "best_peer": best and best.name,
            "ratio_cpu_best_peer": confluent
            and best
            and round(confluent.rows_per_cpu_second / best.rows_per_cpu_second, 2),
            "ratio_wall_sql_floor": confluent and floor and round(floor.wall / confluent.wall, 2),
            "peak_rss_mb": confluent and round(confluent.peak_rss / 1e6),
            "exact": all(one.wrong == 0 for one in results if one.kind == "pista"),
        }
    )
