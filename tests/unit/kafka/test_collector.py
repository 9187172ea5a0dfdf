"""The garbage collector rests during a poll, and is as it was afterwards."""

import gc

import pytest

from pista.kafka.collector import collector_paused


def test_the_collector_rests_and_goes_on() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(KeyError), collector_paused():
        {}["nothing"]
    assert gc.isenabled()
