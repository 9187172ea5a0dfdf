"""Which partitions of a topic a drain owns, so that several drains can load one dataset at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd, lcm


@dataclass(frozen=True, slots=True)
class Share:
    """The partitions p with ``p % of == slot``; a partition that comes later belongs to somebody too.

    Raises:
        ValueError: there is no such slot.
    """

    slot: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.slot < self.of:
            raise ValueError(f"there is no slot {self.slot} of {self.of}: slots count from 0 to {self.of - 1}")

    def __str__(self) -> str:
        """As tags and sentences write it: ``0/3`` is the first of three."""
        return f"{self.slot}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Share":
        """From what ``str`` makes of it.

        Raises:
            ValueError: it is not written so.
        """
        slot, _, of = text.partition("/")
        return cls(int(slot), int(of))

    def owns(self, partition: int) -> bool:
        """Whether that partition is to be read."""
        return partition % self.of == self.slot

    def overlaps(self, other: "Share") -> bool:
        """Whether some partition can belong to both."""
        return (self.slot - other.slot) % gcd(self.of, other.of) == 0

    def is_within(self, shares: Iterable["Share"]) -> bool:
        """Whether each partition of it belongs to one of those, however many they are cut into."""
        others = [share for share in shares if share.overlaps(self)]
        period = lcm(self.of, *(share.of for share in others))
        return bool(others) and all(
            any(share.owns(partition) for share in others) for partition in range(self.slot, period, self.of)
        )


WHOLE = Share(0, 1)
