"""A way to a server that can be cut, or can swallow everything while the connection stays up. Not a test."""

import contextlib
import socket
import threading


class Wire:
    """Listens on a port of its own and passes everything on, as long as it is whole."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        self.passed = 0  # bytes that came from the server
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Reset every connection there is; new ones are passed on."""
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def black_hole(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._whole.clear()

    def heal(self) -> None:
        """What is in the hole comes out late, as after a route has come back."""
        self._whole.set()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listener.close()
        self.heal()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server_port))
                except OSError:
                    client.close()
                    continue
                self._ends |= {client, server}
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                self._whole.wait()
                target.sendall(data)
                self.passed += len(data) if from_server else 0
        self._ends -= {source, target}
