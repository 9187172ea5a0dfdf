"""JSON payloads behind a frame: the frame goes, the document stays as it is.

The writer's JSON Schema is not applied: the dataset's contract says what is valid here, and it is checked on every
record; a second verdict, by a schema that others may loosen any day, would refuse nothing more that matters.
"""

from collections.abc import Callable


def strip_frame() -> Callable[[bytes, int], bytes]:
    """A function that takes a body and the place where its payload starts, and returns the payload."""
    return lambda body, start: body[start:]
