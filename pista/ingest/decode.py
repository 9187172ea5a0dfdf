"""Bytes to typed rows: columns at once where the batch is clean, records one by one around a bad one."""

from pista.contracts.dataset import Dataset, Merge
from pista.ingest.arrow import Decoded, concatenate
from pista.ingest.columnar import decode_columnar
from pista.ingest.presence import with_absent
from pista.ingest.rowwise import decode_rowwise
from pista.kafka.records import Records
from pista.settings import Settings

ROWWISE_BELOW = 256  # records; halving a smaller batch costs more than reading it one by one


class Decoder:
    """Decodes the records of one dataset; keeps what is worth keeping between batches."""

    def __init__(self, dataset: Dataset, settings: Settings) -> None:
        self.dataset = dataset
        self._value_max_bytes = settings.value_max_bytes

    def decode(self, records: Records) -> Decoded:
        """Rows of the good records and a rejection for each of the others; together exactly ``records``."""
        rows = decode(self.dataset, records, self._value_max_bytes)
        return with_absent(self.dataset, records, rows) if self.dataset.merge is Merge.PATCH else rows


def decode(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """Rows of the good records and a rejection for each of the others; together exactly ``records``."""
    whole = decode_columnar(dataset, records, value_max_bytes)
    if whole is not None:
        return whole
    if len(records) <= ROWWISE_BELOW:
        return decode_rowwise(dataset, records, value_max_bytes)
    middle = len(records) // 2
    return concatenate(
        decode(dataset, records.part(0, middle), value_max_bytes),
        decode(dataset, records.part(middle, len(records)), value_max_bytes),
        middle,
    )
