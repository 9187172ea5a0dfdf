"""The measurement of decoding runs, and its steps are parts of what it measures."""

from benchmarks.decode import DATASETS, flight_records, measure
from pista.contracts.loading import load_datasets


def test_every_step_of_a_batch_is_measured() -> None:
    seconds = measure(load_datasets(DATASETS)["flights"], flight_records(500))
    assert list(seconds) == ["gate", "read", "convert", "decode", "stage", "decode + stage"]
    assert seconds["decode + stage"] == seconds["decode"] + seconds["stage"]
