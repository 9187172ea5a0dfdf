"""Java archives from Maven Central by a committed lock: fetched once, checked, shared between checkouts."""

import fcntl
import hashlib
import os
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pista.local.processes import StackError

DOWNLOAD_THREADS = 8


def locked_jars(program: str, lock: bytes) -> list[Path]:
    """The jars of a lock that jgo wrote, each with the SHA-256 sum that it has there.

    Args:
        program: whose they are, as a name for people.
        lock: content of the lock file.

    Raises:
        StackError: they cannot be fetched, or one is not what the lock says.
    """
    locked = tomllib.loads(lock.decode())["dependencies"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pista"
    name = program.lower().replace(" ", "-")
    folder = cache / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with (cache / "lock").open("w") as lock_file:
                fcntl.flock(lock_file, fcntl.LOCK_EX)  # two checkouts that start at once fetch once
                if not folder.exists():
                    _fetch(program, locked, folder.with_suffix(".unfinished")).rename(folder)
        except OSError as error:
            raise StackError(f"{program}'s jars cannot be stored in {cache}: {error.strerror or error}.") from error
    return sorted(folder.glob("*.jar"))


def _fetch(program: str, locked: list[dict[str, str]], folder: Path) -> Path:
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext
    from jgo.maven._core import DEFAULT_REMOTE_REPOS
    from requests import RequestException

    # a mirror named `central` in the user's jgo settings takes the place of Maven Central
    repositories = {**DEFAULT_REMOTE_REPOS, **GlobalSettings.load().repositories}
    downloads = Path(f"{folder}.downloads")
    shutil.rmtree(downloads, ignore_errors=True)  # the client takes a half-written file for a whole one
    context = MavenContext(repo_cache=downloads, remote_repos=repositories, timeout=30)
    folder.mkdir(exist_ok=True)

    def fetch(jar: dict[str, str]) -> None:
        whole = folder / f"{jar['artifactId']}-{jar['version']}.jar"
        if whole.exists():  # fetched before an interruption
            return
        component = context.project(jar["groupId"], jar["artifactId"]).at_version(jar["version"])
        path = component.artifact().resolve()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != jar["sha256"]:
            raise StackError(
                f"{path.name} has the SHA-256 sum {found}, and the lock of {program} says {jar['sha256']}: "
                "the download was cut short or altered. Run the command again."
            )
        path.rename(whole)

    with ThreadPoolExecutor(DOWNLOAD_THREADS) as pool:
        try:
            for _ in pool.map(fetch, locked):
                pass
        except (RequestException, RuntimeError) as error:
            pool.shutdown(cancel_futures=True)
            raise StackError(
                f"The {len(locked)} jars of {program} cannot be fetched from Maven Central. The first start needs the "
                f"network: check the connection or the proxy, and run the command again. ({_first_line(error)})"
            ) from error
    shutil.rmtree(downloads)
    return folder


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
