"""What the sensor asked for without anything moving since: exponential back-off, kept in its cursor.

The cursor is advisory. Losing it costs one early attempt; the truth is in the ledger.
"""

import json
from dataclasses import asdict, dataclass

FIRST_DELAY = 10.0  # seconds between the second and the third attempt
LONGEST_DELAY = 120.0  # seconds
LONGEST_BLOCKED = 3600.0  # seconds, for a mart whose own rule blocks it: the same data fail again


@dataclass(frozen=True, slots=True)
class Ask:
    """Requests for one dataset or mart from the same position."""

    position: int  # ledger position of a dataset; oldest queue row of a mart, the newest of a blocked one
    count: int
    at: float  # Unix time of the last one


class Asks:
    """The requests that have not moved anything yet."""

    def __init__(self, asks: dict[str, Ask] | None = None) -> None:
        self._asks = asks or {}

    @classmethod
    def parse(cls, cursor: str | None) -> "Asks":
        """From a cursor; one of another version of the code counts as empty."""
        try:
            return cls({name: Ask(**ask) for name, ask in json.loads(cursor or "{}").items()})
        except (AttributeError, TypeError, ValueError):
            return cls()

    def dump(self) -> str:
        """As a cursor."""
        return json.dumps({name: asdict(ask) for name, ask in sorted(self._asks.items())})

    def wait(
        self,
        name: str,
        position: int,
        now: float,
        since: float,
        *,
        longest: float = LONGEST_DELAY,
        shortest: float = 0.0,
    ) -> float:
        """Seconds until ``name`` may be asked for again; what was asked before ``since`` may at once.

        Args:
            name: of a dataset or mart.
            position: where it stands; a request from another position does not count.
            now: Unix time.
            since: Unix time of the last restart.
            longest: seconds that the back-off grows to.
            shortest: seconds between two requests, even if it moved.
        """
        ask = self._asks.get(name)
        if ask is None or ask.at < since:
            return 0.0
        stuck = ask.position == position and ask.count >= 2
        delay = max(shortest, min(longest, FIRST_DELAY * 2.0 ** min(ask.count - 2, 10)) if stuck else 0.0)
        return max(0.0, ask.at + delay - now) if delay else 0.0

    def note(self, name: str, position: int, now: float, since: float) -> None:
        """Remember a request."""
        ask = self._asks.get(name)
        same = ask is not None and ask.position == position and ask.at >= since
        self._asks[name] = Ask(position, ask.count + 1 if ask is not None and same else 1, now)

    def keep_only(self, names: set[str]) -> None:
        """Forget what needs nothing any more."""
        self._asks = {name: ask for name, ask in self._asks.items() if name in names}

    def count(self, name: str) -> int:
        """How often ``name`` was asked for from its present position."""
        ask = self._asks.get(name)
        return 0 if ask is None else ask.count
