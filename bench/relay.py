"""The network of make chaos: a TCP relay that can be slowed, stalled or cut."""

import contextlib
import selectors
import socket
import struct
import threading
import time

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Relay:
    """Forwards the bytes of each connection to a port of this machine, in a thread.

    Attributes
    ----------
    to, port : the port it forwards to, and the port it listens on.
    delay : seconds before each piece is passed on.
    stalled : whether nothing is passed on.
    carried : connections carried so far.
    """

    def __init__(self, to: int) -> None:
        self.to, self._cut, self._open = to, False, set[socket.socket]()
        self.delay, self.stalled, self.carried = 0.0, False, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Reset all connections, and each new one until `mend`; return the number of open ones."""
        self._cut, found = True, list(self._open)
        for one in found:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.shutdown(socket.SHUT_RDWR)
        return len(found) // 2

    def mend(self) -> None:
        """Forward again after `cut`."""
        self._cut = False

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                near.close()
                continue
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        self.carried += 1
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.to), 5) as far:
            far.settimeout(None)
            self._open |= {near, far}
            other, waiting = {near: far, far: near}, selectors.DefaultSelector()
            try:
                for one in other:
                    waiting.register(one, selectors.EVENT_READ, one)
                while waiting.get_map():
                    for one in [key.data for key, _ in waiting.select()]:
                        data = one.recv(65536)
                        time.sleep(self.delay)
                        while self.stalled:
                            time.sleep(0.02)
                        if data:
                            other[one].sendall(data)
                        else:
                            waiting.unregister(one)
                            other[one].shutdown(socket.SHUT_WR)
                        if self._cut:
                            return
            finally:
                waiting.close()
                self._open -= {near, far}
