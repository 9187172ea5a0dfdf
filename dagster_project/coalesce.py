"""Several batches as one materialization: sums under the same numeric keys, so that Dagster can plot them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from pista.ingest.bookkeeping import BatchReport

COUNTS = (
    "records",
    "bytes",
    "loaded",
    "quarantined",
    "filtered",
    "inserted",
    "updated",
    "deleted",
    "unchanged",
    "ambiguous",
)
TIMES = ("read_ms", "decode_ms", "write_ms")


@dataclass(slots=True)
class Coalesced:
    """Batches of one dataset since its last report."""

    dataset: str
    batches: int = 0
    version: int = 0
    lag: int | None = None  # after the newest batch
    latency_ms: float | None = None  # of the slowest batch
    client: str | None = None  # what read the records
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0) | dict.fromkeys(TIMES, 0.0))
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)  # partition -> [start, end)
    unknown_fields: Counter[str] = field(default_factory=Counter)  # in how many records of the samples

    def add(self, batch: BatchReport) -> None:
        """Take one more batch in; batches come in the order of their commits."""
        self.batches += 1
        self.version = batch.version
        self.client = batch.client
        if batch.lag is not None:
            self.lag = batch.lag
        if batch.latency_ms is not None:
            self.latency_ms = max(batch.latency_ms, self.latency_ms or 0.0)
        for name in (*COUNTS, *TIMES):
            self.sums[name] += getattr(batch, name)
        self.unknown_fields.update(batch.unknown_fields)
        for partition, (start, end) in batch.offsets.items():
            self.offsets[partition] = (self.offsets.get(partition, (start, end))[0], end)


def materialization_metadata(batches: Coalesced, row_count: int | None) -> dict[str, Any]:
    """The metadata of one materialization; a number that is not known is left out, never zero."""
    found: dict[str, Any] = {"batches": batches.batches, "version": batches.version}
    found.update({name: int(batches.sums[name]) for name in COUNTS})
    found.update({name: round(batches.sums[name], 3) for name in TIMES})
    if batches.lag is not None:
        found["lag"] = batches.lag
    if batches.latency_ms is not None:
        found["latency_ms"] = round(batches.latency_ms, 3)
    if batches.client is not None:
        found["client"] = batches.client
    if row_count is not None:
        found["dagster/row_count"] = row_count
    if batches.unknown_fields:
        found["unknown_fields"] = dg.MetadataValue.json(dict(batches.unknown_fields.most_common()))
    found["offsets"] = dg.MetadataValue.json(
        {str(partition): list(range_) for partition, range_ in sorted(batches.offsets.items())}
    )
    return found
