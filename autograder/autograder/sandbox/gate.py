"""The gate between a kernel's channels and the grader: it counts the bytes that come out.

ZeroMQ bounds the size of a frame, but neither the number of frames of a message nor what it holds
before anybody reads. A hostile kernel could fill the grader's memory through it; here it meets the
end of its allowance first, and is killed.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 1 << 17
MAX_BYTES = 64 << 20  # what one kernel may send over all its channels


class Gate:
    """Passes bytes between listeners for the grader and the kernel's own, in a thread.

    `outer` are paths that the grader's client connects to, `inner` those on which the kernel
    listens, in the same order. `flooded` is called once, from the thread, when a kernel has sent
    more than `max_bytes`; then nothing is passed any more.
    """

    def __init__(
        self,
        outer: list[Path],
        inner: list[Path],
        flooded: Callable[[], None],
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._inner = inner
        self._flooded = flooded
        self._left = max_bytes
        self._selector = selectors.DefaultSelector()
        self._listeners = [listener(path) for path in outer]
        for index, sock in enumerate(self._listeners):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, index)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._ends: set[_End] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and every connection. May be called twice, and from any thread."""
        self._wake.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._left >= 0:
                for key, events in self._selector.select():
                    if key.data is None:
                        return
                    if isinstance(key.data, _End):
                        self._pass(key.data, events)
                    else:
                        self._accept(key.data)
            self._flooded()
        finally:
            for end in list(self._ends):
                self._drop(end)
            for sock in (*self._listeners, self._woken):
                sock.close()
            self._selector.close()

    def _accept(self, index: int) -> None:
        try:
            client, _ = self._listeners[index].accept()
        except OSError:
            return
        kernel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        kernel.setblocking(False)
        client.setblocking(False)
        try:
            kernel.connect(os.fspath(self._inner[index]))
        except OSError:
            kernel.close()
            client.close()  # the client tries again
            return
        outside, inside = _End(client, counted=False), _End(kernel, counted=True)
        outside.other, inside.other = inside, outside
        for end in (outside, inside):
            self._ends.add(end)
            self._watch(end)

    def _pass(self, end: _End, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                sent = end.sock.send(end.pending)
                del end.pending[:sent]
            if events & selectors.EVENT_READ and not end.other.pending:
                chunk = end.sock.recv(CHUNK_BYTES)
                if not chunk:
                    raise ConnectionResetError
                if end.counted:
                    self._left -= len(chunk)
                end.other.pending += chunk
        except BlockingIOError:
            return
        except OSError:
            self._drop(end)
            return
        self._watch(end)
        self._watch(end.other)

    def _watch(self, end: _End) -> None:
        """Write what waits for this end; read from it only while nothing waits for the other."""
        wanted = selectors.EVENT_WRITE if end.pending else 0
        wanted |= 0 if end.other.pending else selectors.EVENT_READ
        if wanted == end.watched:
            return
        if end.watched:
            self._selector.unregister(end.sock)
        if wanted:
            self._selector.register(end.sock, wanted, end)
        end.watched = wanted

    def _drop(self, end: _End) -> None:
        for one in (end, end.other):
            if one.watched:
                self._selector.unregister(one.sock)
                one.watched = 0
            one.sock.close()
            self._ends.discard(one)


class _End:
    """One end of a connection: its socket, and what waits to be written to it."""

    other: _End

    def __init__(self, sock: socket.socket, counted: bool) -> None:
        self.sock, self.counted = sock, counted
        self.pending = bytearray()
        self.watched = 0


def listener(path: Path) -> socket.socket:
    """A listening socket at a path, instead of whatever listened there."""
    path.unlink(missing_ok=True)  # a restarted kernel listens where the last one did
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(os.fspath(path))
    sock.listen(64)
    return sock
