"""Python's garbage collector, kept out of loops that make many objects and drop them all."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection within the block, by any thread; for a poll, which takes a second at most.

    The ten thousand messages of a poll make it look through everything there is again and again, although they
    form no cycles: that took a third of the processor time of a read.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
