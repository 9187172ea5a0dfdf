"""The stack as a whole: what starts in which order, who watches it, how it stops."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from pista.contracts.dataset import Dataset
from pista.ingest.groups import drain_groups, most_runs
from pista.kafka.client import client_options
from pista.kafka.topics import ensure_topics
from pista.local import databases, kafka, postgres, probes, processes
from pista.local.environment import Connections, dagster_home
from pista.local.processes import POSTGRES, Child, StackError
from pista.local.replay import REFERENCE
from pista.local.served import Served, marts_waiting, served
from pista.local.state import Credentials, State, choose_ports, is_free
from pista.settings import Settings
from pista.warehouse.migrate import migrate

REPLAY = "replay"
PROGRAMS = (REPLAY, "api", "daemon", "webserver", "code-server")
SERVERS = (POSTGRES, kafka.KAFKA)
PORTS = ["postgres", "kafka", "kafka-controller", "code-server", "api", "dagster"]
START_SECONDS = 120.0
SERVED_SECONDS = 300.0  # without any progress
MART_SECONDS = 90.0  # a mart that is not built by then is shown as such
REPLAYED = (*REFERENCE, "flights", "weather")
REPOSITORY = Path(__file__).resolve().parents[2]


class Stack:
    """One local stack; who uses it holds the lock of the home."""

    def __init__(self, settings: Settings, datasets: Mapping[str, Dataset]) -> None:
        """Find out where everything is; nothing starts yet.

        Raises:
            StackError: a port that the environment names is taken, or there is too little space.
            ContractError: two contracts do not agree on the groups of drains.
        """
        self._most_runs = most_runs(drain_groups(datasets.values()))
        self.home = settings.home.resolve()
        self.datasets = datasets
        self.credentials = Credentials.of(self.home)
        self.state = State.of(self.home)
        self._given = settings
        self._children: list[Child] = []
        self._guard = threading.Lock()
        self._stopping = False
        self._began = time.time()
        fixed = {
            name: getattr(settings, f"{name}_port")
            for name in ("api", "dagster")
            if f"{name}_port" in settings.model_fields_set
        }
        choose_ports(self.state, fixed, {"api": settings.api_port, "dagster": settings.dagster_port}, PORTS)
        self.state.api_url = settings.api_url or f"http://127.0.0.1:{self.state.ports['api']}"
        self.state.dagster_url = f"http://127.0.0.1:{self.state.ports['dagster']}"
        self.connections = Connections.of(settings, self.state, self.credentials)
        self.state.kafka_bootstrap = self.connections.kafka_bootstrap
        self.settings = self.connections.applied_to(settings, self.state)

    def start(self) -> None:
        """Start servers and programs; return when the servers can be used and the topics are there.

        Raises:
            StackError: something cannot start.
        """
        for file in ("dagster_project", "workspace.yaml"):
            if not (REPOSITORY / file).exists():
                raise StackError(f"{REPOSITORY / file} is missing: `pista up` runs from a checkout of the repository.")
        folder = dagster_home(self.home)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / "dagster_project" / "dagster.yaml", folder / "dagster.yaml")
        # its import takes longest and needs no server
        self._spawn(
            "code-server", *self._dagster("code-server", "start", "--module-name", "dagster_project.definitions")
        )
        self._run([self._start_kafka, self._start_postgres])

    def _run(self, tasks: list[Callable[[], None]]) -> None:
        pool = ThreadPoolExecutor(len(tasks))
        pending: set[Future[None]] = {pool.submit(task) for task in tasks}
        pool.shutdown(wait=False)
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            self.check()

    def _start_postgres(self) -> None:
        dsn = self.connections.admin_dsn
        if self._given.postgres_dsn:
            databases.check_external(dsn)
        else:
            cluster = postgres.locate(self.home)
            postgres.initialise(cluster, self.credentials.postgres)
            child = self._register(lambda: postgres.launch(cluster, self.state.ports["postgres"]))
            server = databases.uri(dsn, database="postgres")
            postgres.wait_ready(child, server)
            databases.ensure_database(server, databases.PISTA)
        databases.ensure_dagster(dsn, self.credentials.dagster)
        own = {"pista_ingest": self._given.ingest_dsn, "pista_api": self._given.api_dsn}
        passwords = {role: getattr(self.credentials, role) for role, given in own.items() if given is None}
        migrate(dsn, self.datasets, passwords)
        databases.ensure_demo_key(dsn, self.credentials)
        self._start_programs()

    def _start_programs(self) -> None:
        workspace = ("--workspace", str(REPOSITORY / "workspace.yaml"))
        port = str(self.state.ports["dagster"])
        programs = Path(sys.executable).parent
        self._spawn("api", sys.executable, "-m", "api")
        self._spawn("webserver", str(programs / "dagster-webserver"), "--host", "127.0.0.1", "--port", port, *workspace)
        # At the first start the webserver lays out Dagster's tables, and two that do it at once collide. The daemon
        # looks for the code location when it starts, and then only once a minute.
        self._await("webserver", lambda: databases.dagster_has_tables(self.connections.dagster_dsn))
        self._await("code-server", lambda: not is_free(self.state.ports["code-server"]))
        self._spawn("daemon", str(programs / "dagster-daemon"), "run", *workspace)

    def _dagster(self, *arguments: str) -> list[str]:
        program = str(Path(sys.executable).parent / "dagster")
        return [
            program,
            *arguments,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.state.ports["code-server"]),
            "--location-name",
            "pista",
        ]

    def _start_kafka(self) -> None:
        if self._given.kafka_bootstrap:
            try:
                KafkaAdminClient(**client_options(self.settings), bootstrap_timeout_ms=10_000).close()
            except KafkaError as error:
                raise StackError(
                    f"The Kafka of PISTA_KAFKA_BOOTSTRAP ({self._given.kafka_bootstrap}) does not answer: {error}"
                ) from error
        else:
            ports = self.state.ports
            properties = kafka.configure(self.home, ports["kafka"], ports["kafka-controller"])
            child = self._register(lambda: kafka.launch(self.home, properties))
            kafka.wait_ready(child, ports["kafka"])
        ensure_topics(client_options(self.settings), self.datasets.values())

    def _spawn(self, name: str, *command: str) -> None:
        variables = self.connections.variables(self.settings, self.state, self._most_runs)
        self._register(
            lambda: processes.start(name, command, home=self.home, environment=variables, directory=REPOSITORY)
        )

    def _register(self, launch: Callable[[], Child]) -> Child:
        with self._guard:
            if self._stopping:
                raise StackError("The stack is being stopped.")
            child = launch()
            self._children.append(child)
            self.state.processes[child.name] = child.process.pid
            self.state.save(self.home)
        return child

    def check(self) -> None:
        """Raise StackError if a process of the stack has ended."""
        for child in list(self._children):
            child.check()

    def wait_ready(self) -> None:
        """Return when the API can serve, and Dagster has loaded the code and runs the sensors.

        Raises:
            StackError: a process ended, the code does not load, or it takes too long.
        """
        self._await("api", lambda: probes.api_is_ready(self.state.api_url))
        self._await("webserver", lambda: probes.dagster_is_ready(self.state.dagster_url, self._began))

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                log = self.home / "logs" / f"{name}.log"
                raise StackError(f"{name} is not ready after {START_SECONDS:.0f} s: see {log}.")
            time.sleep(0.2)

    def replay(self, months: int) -> None:
        """Publish the flights of so many months, except what was published before; says itself what it does.

        Raises:
            StackError: it did not come to its end.
        """
        # a process of its own: it takes a gigabyte, which a launcher that lives for days shall not keep
        command = [sys.executable, "-m", "pista.cli", "replay", "--months", str(months)]
        environment = os.environ | {"PISTA_HOME": str(self.home), processes.MARK: f"{self.home}:{REPLAY}"}
        if subprocess.run(command, env=environment, check=False).returncode:
            raise StackError("The flights could not be published; the reason is above.")

    def wait_served(self, on_progress: Callable[[int, int], None]) -> list[Served]:
        """Return what is served when no topic is ahead, the marts are built, and the API tells its clients so.

        Raises:
            StackError: a dataset was stopped by a condition, or nothing moves any more.
        """
        most, last, moved_at = 0, -1, time.monotonic()
        while True:
            self.check()
            state = served(self.datasets, self.settings)
            lag = sum(one.lag or 0 for one in state)
            most = max(most, lag)
            on_progress(most - lag, most)
            built = lag == 0 and (not marts_waiting(self.settings) or time.monotonic() - moved_at > MART_SECONDS)
            if built and all(one.rows for one in state if one.name in REPLAYED):
                rows = probes.served_rows(self.state.api_url, self.credentials.api_key)
                if all(rows.get(one.name) == one.rows for one in state):
                    return state
            if lag != last:
                last, moved_at = lag, time.monotonic()
            elif time.monotonic() - moved_at > SERVED_SECONDS:
                logs = self.home / "logs"
                raise StackError(
                    f"{lag:,} records wait, and nothing has moved for {SERVED_SECONDS:.0f} s. What the sensor says is "
                    f"in {logs / 'daemon.log'}, what the runs say in {logs / 'code-server.log'}."
                )
            time.sleep(0.3)

    def stop(self) -> list[str]:
        """Stop everything of this home, programs first; names of what had to be forced."""
        with self._guard:
            self._stopping = True
        return stop_home(self.home, self._children)


def stop_home(home: Path, children: list[Child] | None = None) -> list[str]:
    """Stop every process of the stack at ``home``, whoever started it: programs first, then servers."""
    forced = processes.stop(home, PROGRAMS, children or ())
    forced += processes.stop(home, SERVERS, children or (), seconds=30.0)
    state = State.of(home)
    state.ready, state.launcher, state.step, state.processes = False, 0, "", {}
    if home.exists():
        state.save(home)
    return forced
