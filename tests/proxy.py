"""A TCP proxy that can cut, swallow, delay and alter what passes: faults of a network, on demand."""

import contextlib
import socket
import threading
import time
from types import TracebackType


class Proxy:
    """Listens on loopback and passes bytes to and from ``target`` (host:port), until the block ends.

    A broker behind it has to advertise ``address``, for a client goes where the broker says that it is.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.accepted = 0  # connections since the start
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()  # clear: a black hole, nothing passes and nothing is refused
        self._open.set()
        self._refusing = False
        self._ended = False
        self._delay = 0.0
        self._altered: tuple[bytes, bytes] | None = None
        self._listening = threading.Thread(target=self._listen, name=f"proxy to {target}", daemon=True)

    def cut(self) -> None:
        """Break every connection; new ones pass."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Break every connection, and every new one at once, until ``heal``."""
        self._refusing = True
        self.cut()

    def swallow(self) -> None:
        """Be a black hole until ``heal``: connections stay, new ones are accepted, no byte passes."""
        self._open.clear()

    def delay(self, seconds: float) -> None:
        """Hold up every piece of data on its way to the client, until ``heal``."""
        self._delay = seconds

    def alter(self, old: bytes, new: bytes) -> None:
        """Replace bytes on their way to the client, until ``heal``; of equal length, and within one piece of data."""
        assert len(old) == len(new)
        self._altered = old, new

    def heal(self) -> None:
        """Let everything pass again; what was swallowed arrives late."""
        self._refusing, self._delay, self._altered = False, 0.0, None
        self._open.set()

    def __enter__(self) -> "Proxy":
        self._listening.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        self.heal()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._listening.join(5)

    def _listen(self) -> None:
        while not self._ended:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._open.wait()
        host, _, port = self._target.rpartition(":")
        try:
            if self._refusing:
                raise ConnectionRefusedError
            broker = socket.create_connection((host, int(port)), timeout=10)
        except OSError:
            client.close()
            return
        broker.settimeout(None)
        pair = client, broker
        with self._lock:
            self._pairs.add(pair)
        up = threading.Thread(target=self._pump, args=(client, broker, False), daemon=True)
        up.start()
        self._pump(broker, client, True)
        up.join()
        with self._lock:
            self._pairs.discard(pair)
        for one in pair:
            one.close()

    def _pump(self, source: socket.socket, sink: socket.socket, to_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._open.wait()
                if to_client and self._delay:
                    time.sleep(self._delay)
                if to_client and self._altered:
                    data = data.replace(*self._altered)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
