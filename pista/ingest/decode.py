"""Bytes to typed rows: columns at once where the batch is clean, records one by one around a bad one."""

import sys
from dataclasses import replace
from itertools import repeat
from operator import is_

import numpy as np

from pista.contracts.dataset import Dataset, Merge
from pista.ingest import filters
from pista.ingest.arrow import Decoded, combine, left_out
from pista.ingest.columnar import decode_columnar
from pista.ingest.gate import NotColumnarError
from pista.ingest.pii import Concealer, as_stored, personal_columns
from pista.ingest.places import Opened
from pista.ingest.presence import with_absent
from pista.ingest.reasons import Reason, Rejection
from pista.ingest.rowwise import decode_rowwise, too_large
from pista.ingest.sieve import suspects
from pista.ingest.unknown import count_unknown, known_fields
from pista.kafka.formats.make import Plain, make_format
from pista.kafka.records import Records
from pista.settings import Settings

ROWWISE_BELOW = 256  # records; halving a smaller batch costs more than reading it one by one
SIEVINGS = 4  # times: without what is no JSON, then without mistyped fields, then without bad values, with one to spare


class Decoder:
    """Decodes the records of one dataset; keeps what is worth keeping between batches.

    Args:
        dataset: of kind upsert or append.
        settings: limits, schema registry, and the secret that personal values are hashed with.
        from_raw: the records come from raw, as ``stored`` gave them: what is personal there is hashed or gone.

    Raises:
        PiiSecretMissing: personal values are to be hashed, and there is no secret.
        RegistryNotConfiguredError: the settings do not suffice to reach the schema registry.
    """

    def __init__(self, dataset: Dataset, settings: Settings, *, from_raw: bool = False) -> None:
        self.dataset = dataset
        personal = bool(personal_columns(dataset))
        self._reading = as_stored(dataset) if from_raw and personal else dataset
        self._concealer = Concealer(dataset, settings) if personal and not from_raw else None
        # what is personal is concealed in plain JSON, so such a dataset's raw holds no other format
        self._format = None if from_raw and personal else make_format(dataset, settings)
        self._value_max_bytes = settings.value_max_bytes
        self._known = known_fields(dataset)
        self._settings, self._from_raw = settings, from_raw
        self._last: tuple[Records, Plain] | None = None

    def decode(self, records: Records) -> Decoded:
        """Rows of the good records, a rejection for each bad one, and which belong to others; together ``records``.

        Raises:
            RegistryUnavailableError: the schema registry did not answer; the same call may succeed later.
            RegistryRefusedError: the schema registry will not answer.
        """
        plain = self._plain(records)
        if plain is None:
            result = decode(self._reading, records, self._value_max_bytes)
        else:
            readable = replace(records, values=plain.values, keys=plain.keys)
            result = self._decode_plain(records, readable, plain)
            records = readable
        result = replace(result, unknown_fields=count_unknown(self._reading, self._known, records))
        if self._reading.merge is Merge.PATCH:
            result = with_absent(self._reading, records, result)
        return result if self._concealer is None else self._concealer.conceal(result)

    def of_keys(self) -> "Decoder":
        """A decoder of the same records that looks at nothing but the dataset's key."""
        dataset = self.dataset
        columns = tuple(dataset.column(name) for name in dataset.key)
        only_key = replace(dataset, columns=columns, dropped=(), where=(), ordering=None, merge=Merge.REPLACE)
        return Decoder(only_key, self._settings, from_raw=self._from_raw)

    def _decode_plain(self, records: Records, readable: Records, plain: Plain) -> Decoded:
        """Decode what another format became; its size is judged by what the broker delivered."""
        limit = self._value_max_bytes
        large = [i for i, value in enumerate(records.values) if value is not None and len(value) > limit]
        bad = np.array(sorted({*plain.errors, *large}), np.int64)
        # those of others are left out below, readable or not
        bad = bad[_outer_filters_hold(self._reading, readable.take(bad))]
        rejections = [
            Rejection(place, Reason(plain.errors[index].code.value), plain.errors[index].detail)
            if index in plain.errors
            else Rejection(place, Reason.VALUE_TOO_LARGE, too_large(len(records.values[index] or b""), limit))
            for place, index in enumerate(bad.tolist())
        ]
        rest = np.setdiff1d(np.arange(len(records)), bad)
        return combine(
            [
                (rest, decode(self._reading, readable.take(rest), sys.maxsize)),
                (bad, replace(left_out(self._reading, 0), rejections=rejections)),
            ]
        )

    def stored(self, records: Records) -> Records:
        """The records as raw shall keep them: as they came, or as plain JSON without what is personal in clear."""
        if self._concealer is None:
            return records
        plain = self._plain(records)
        return self._concealer.stored(
            records if plain is None else replace(records, values=plain.values, keys=plain.keys)
        )

    def _plain(self, records: Records) -> Plain | None:
        """The records' values and keys as JSON; None where they are JSON as they stand."""
        if self._format is None:
            return None
        if self._last is not None and self._last[0] is records:
            return self._last[1]
        plain = self._format.plain(records)
        if self._concealer is not None:  # it will ask for the same records
            self._last = records, plain
        return plain


def decode(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """Rows of the good records, a rejection for each bad one, and which belong to others; together ``records``."""
    ours = _outer_filters_hold(dataset, records)
    deletions = np.fromiter(map(is_, records.values, repeat(None)), bool, len(records)) & ours
    parts = []
    if (others := np.flatnonzero(~ours)).size:
        parts.append((others, left_out(dataset, len(others))))
    if (places := np.flatnonzero(deletions)).size:
        parts.append((places, decode_rowwise(dataset, records.take(places), value_max_bytes)))
    places = np.flatnonzero(ours & ~deletions)
    if places.size or not parts:
        rest = records if places.size == len(records) else records.take(places)
        parts.append((places, _decode_values(dataset, rest, value_max_bytes)))
    return combine(parts)


def _outer_filters_hold(dataset: Dataset, records: Records) -> np.ndarray:
    outer, _ = filters.split(dataset)
    if not outer:
        return np.ones(len(records), bool)
    return np.fromiter((filters.hold(outer, Opened(dataset, record, None)) for record in records), bool, len(records))


def _decode_values(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """The columnar path without those that keep a batch from it; by halves where they cannot be told."""
    parts: list[tuple[np.ndarray, Decoded]] = []
    places = np.arange(len(records))
    for _ in range(SIEVINGS):
        if len(records) <= ROWWISE_BELOW:
            break
        try:
            parts.append((places, decode_columnar(dataset, records, value_max_bytes)))
            return combine(parts)
        except NotColumnarError as error:
            bad = suspects(dataset, records, value_max_bytes) if error.suspects is None else error.suspects
        if not 0 < len(bad) <= len(records) // 2:
            break
        parts.append((places[bad], decode_rowwise(dataset, records.take(bad), value_max_bytes)))
        rest = np.delete(np.arange(len(records)), bad)
        places, records = places[rest], records.take(rest)
    parts.append((places, _halve(dataset, records, value_max_bytes)))
    return combine(parts)


def _halve(dataset: Dataset, records: Records, value_max_bytes: int) -> Decoded:
    """The columnar path for the largest parts of a batch that it takes."""
    try:
        return decode_columnar(dataset, records, value_max_bytes)
    except NotColumnarError:
        pass
    if len(records) <= ROWWISE_BELOW:
        return decode_rowwise(dataset, records, value_max_bytes)
    middle = len(records) // 2
    halves = [records.part(0, middle), records.part(middle, len(records))]
    places = [np.arange(middle), np.arange(middle, len(records))]
    return combine(
        [(place, _halve(dataset, half, value_max_bytes)) for place, half in zip(places, halves, strict=True)]
    )
