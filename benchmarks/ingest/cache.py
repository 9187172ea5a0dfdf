"""What peers are made of, in the user's cache: made once, whole or not at all."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache; ``make`` fills another one, which then takes its place."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pista" / "benchmarks"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    if not folder.exists():
        with (cache / "lock").open("w") as lock_file:
            fcntl.flock(lock_file, fcntl.LOCK_EX)  # two comparisons that start at once make it once
            if not folder.exists():
                unfinished = folder.with_name(f"{name}.unfinished")
                make(unfinished)
                unfinished.rename(folder)
    return folder
