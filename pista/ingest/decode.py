"""Bytes to typed rows: columns at once where the batch is clean, records one by one around a bad one."""

from collections.abc import Sequence

from pista.contracts.dataset import Dataset
from pista.ingest.arrow import Decoded, concatenate
from pista.ingest.columnar import decode_columnar
from pista.ingest.rowwise import decode_rowwise
from pista.kafka.records import Record

ROWWISE_BELOW = 256  # records; halving a smaller batch costs more than reading it one by one


def decode(dataset: Dataset, records: Sequence[Record], value_max_bytes: int) -> Decoded:
    """Rows of the good records and a rejection for each of the others; together exactly ``records``."""
    whole = decode_columnar(dataset, records, value_max_bytes)
    if whole is not None:
        return whole
    if len(records) <= ROWWISE_BELOW:
        return decode_rowwise(dataset, records, value_max_bytes)
    middle = len(records) // 2
    return concatenate(
        decode(dataset, records[:middle], value_max_bytes),
        decode(dataset, records[middle:], value_max_bytes),
        middle,
    )
