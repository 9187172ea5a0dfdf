"""A way to PostgreSQL that kills a process after its COMMIT went out and before the answer comes back. Not a test."""

import contextlib
import os
import signal
import socket
import threading

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # a simple query of the protocol, as psycopg ends a transaction


class CommitProxy:
    """Passes everything on, until ``kill_after`` transactions have been sent to be committed."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._victim = 0
        self._left = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def kill_after(self, commits: int, pid: int) -> None:
        """The process dies between sending that COMMIT and hearing of it."""
        self._left, self._victim = commits, pid

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, to_server: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                if to_server and data.endswith(COMMIT) and self._is_the_one():
                    os.kill(self._victim, signal.SIGKILL)  # before the server can have answered through us
                    target.sendall(data)
                    return
                target.sendall(data)

    def _is_the_one(self) -> bool:
        with self._lock:
            if not self._victim:
                return False
            self._left -= 1
            return self._left == 0
