"""Bytes to typed rows: columns at once where the batch is clean, records one by one around a bad one."""

from dataclasses import replace

import numpy as np

from pista.contracts.dataset import Dataset
from pista.ingest import filters
from pista.ingest.arrow import Decoded, combine, left_out
from pista.ingest.columnar import decode_columnar
from pista.ingest.places import Opened
from pista.ingest.rowwise import decode_rowwise
from pista.ingest.unknown import count_unknown, known_fields
from pista.kafka.records import Records
from pista.settings import Settings

ROWWISE_BELOW = 256  # records; halving a smaller batch costs more than reading it one by one


class Decoder:
    """Decodes the records of one dataset; keeps what is worth keeping between batches."""

    def __init__(self, dataset: Dataset, settings: Settings) -> None:
        self.dataset = dataset
        self._value_max_bytes = settings.value_max_bytes
        self._known = known_fields(dataset)

    def decode(self, records: Records) -> Decoded:
        """Rows of the good records, a rejection for each bad one, and which belong to others; together ``records``."""
        result = decode(self.dataset, records, self._value_max_bytes)
        return replace(result, unknown_fields=count_unknown(self.dataset, self._known, records))

    def stored(self, records: Records) -> Records:
        """The records as raw shall keep them."""
        return records


def decode(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """Rows of the good records, a rejection for each bad one, and which belong to others; together ``records``."""
    ours = _outer_filters_hold(dataset, records)
    deletions = np.fromiter((value is None for value in records.values), bool, len(records)) & ours
    parts = []
    if (others := np.flatnonzero(~ours)).size:
        parts.append((others, left_out(dataset, len(others))))
    if (places := np.flatnonzero(deletions)).size:
        parts.append((places, decode_rowwise(dataset, records.take(places), value_max_bytes)))
    places = np.flatnonzero(ours & ~deletions)
    if places.size or not parts:
        rest = records if places.size == len(records) else records.take(places)
        parts.append((places, _halve(dataset, rest, value_max_bytes)))
    return combine(parts)


def _outer_filters_hold(dataset: Dataset, records: Records) -> np.ndarray:
    outer, _ = filters.split(dataset)
    if not outer:
        return np.ones(len(records), bool)
    return np.fromiter((filters.hold(outer, Opened(dataset, record, None)) for record in records), bool, len(records))


def _halve(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """The columnar path for the largest parts of a batch that it takes."""
    whole = decode_columnar(dataset, records, value_max_bytes)
    if whole is not None:
        return whole
    if len(records) <= ROWWISE_BELOW:
        return decode_rowwise(dataset, records, value_max_bytes)
    middle = len(records) // 2
    halves = [records.part(0, middle), records.part(middle, len(records))]
    places = [np.arange(middle), np.arange(middle, len(records))]
    return combine(
        [(place, _halve(dataset, half, value_max_bytes)) for place, half in zip(places, halves, strict=True)]
    )
