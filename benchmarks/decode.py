"""CPU of decoding and staging one record, step by step, in microseconds: what a batch costs between reading and COPY.

The records are real flight events (19 fields with those of the record), as a batch of the topic holds them. Example::

    python benchmarks/decode.py --records 50000
"""

import argparse
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pista.contracts.dataset import Dataset
from pista.contracts.loading import load_datasets
from pista.ingest.batch import make_batch
from pista.ingest.decode import Decoder
from pista.ingest.gate import field_at, join_objects, read_fields
from pista.ingest.vector import convert_array, read_type
from pista.kafka.records import Record, Records
from pista.local import flights
from pista.settings import Settings

DATASETS = Path(__file__).resolve().parents[1] / "datasets"
REPEATS = 7


def flight_records(count: int) -> Records:
    messages = (
        message
        for month in range(1, 13)
        for chunk in flights.chunks(f"flights/{flights.YEAR}-{month:02}")
        for message in chunk.messages
    )
    return Records.of(
        Record(0, offset, 1_700_000_000_000 + offset, key, value)
        for offset, (key, value) in enumerate(islice(messages, count))
    )


def cpu(step: Callable[[], Any]) -> tuple[float, Any]:
    """Least CPU seconds of some repetitions, and the result."""
    least, result = float("inf"), None
    for _ in range(REPEATS):
        began = time.process_time()
        result = step()
        least = min(least, time.process_time() - began)
    return least, result


def measure(dataset: Dataset, records: Records) -> Mapping[str, float]:
    """CPU seconds of each step of a batch; decode is gate, read and convert with what lies around them."""
    limit = Settings().value_max_bytes
    gate, lines = cpu(lambda: join_objects(records.values, limit))
    tree = {column.source: read_type(column) for column in dataset.columns}
    read, table = cpu(lambda: read_fields(lines, tree, len(records)))
    convert, _ = cpu(lambda: [convert_array(column, field_at(table, (column.source,))) for column in dataset.columns])
    decoder = Decoder(dataset, Settings())
    decode, _ = cpu(lambda: decoder.decode(records))
    batch = make_batch(
        decoder, records, epochs=np.zeros(len(records), np.int32), order_times=records.timestamps,
        planned={}, positions={}, read_ms=0.0, clock_ms=0.0,
    )  # fmt: skip
    stage, _ = cpu(lambda: batch.stage(np.arange(len(records))))
    return {
        "gate": gate, "read": read, "convert": convert,
        "decode": decode, "stage": stage, "decode + stage": decode + stage,
    }  # fmt: skip


def main() -> None:
    """Print a line a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    records = flight_records(arguments.records)
    for name, seconds in measure(load_datasets(DATASETS)["flights"], records).items():
        print(f"{name:16}{seconds / len(records) * 1e6:8.2f} us a record")


if __name__ == "__main__":
    main()
