"""Decimals as JSON numbers of exactly their digits."""

import orjson

DIGITS = 4300  # Python writes no longer integers
BYTES = 1785  # hold fewer digits than that


def json_number(unscaled: bytes, scale: int) -> orjson.Fragment:
    """A number with ``scale`` digits after its point, of the bytes of a big-endian integer.

    Raises:
        ValueError: it is longer than anything that is a number to somebody.
    """
    if len(unscaled) > BYTES:
        raise ValueError(f"a decimal has {len(unscaled)} bytes; valid: at most {BYTES}")
    if not 0 <= scale <= DIGITS:
        raise ValueError(f"a decimal has the scale {scale}; valid: 0 to {DIGITS}")
    number = int.from_bytes(unscaled, "big", signed=True)
    digits = str(abs(number)).rjust(scale + 1, "0")
    if scale:
        digits = f"{digits[:-scale]}.{digits[-scale:]}"
    return orjson.Fragment(f"-{digits}" if number < 0 else digits)
