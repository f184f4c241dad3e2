"""A line between two peers that is slow, stalls or breaks: a TCP proxy on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from conftest import free_port

_PIECE = 1024
_BUFFER = 4096  # a line holds little: what was sent and has not arrived waits at the sender


@dataclass
class Proxy:
    """Passes on what comes on ``port`` to ``target``, and the answers back. Its fields may change while it runs.

    :ivar bytes_per_s: how fast it passes on what the caller sends; None: at once.
    :ivar cut_after: it breaks each connection after so many bytes of the caller; None: never.
    :ivar stalls: it keeps everything to itself.
    :ivar passed: how many bytes of callers it has passed on.
    """

    target: int
    port: int = field(default_factory=free_port)
    bytes_per_s: float | None = None
    cut_after: int | None = None
    stalls: bool = False
    passed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._door = socket.socket()
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._door.bind(("127.0.0.1", self.port))
        self._door.listen()
        self._door.settimeout(0.1)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)
        self._door.close()

    def _start(self, what, *arguments: object) -> None:
        self._threads.append(threading.Thread(target=what, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                caller, _ = self._door.accept()
                self._start(self._connect, caller)

    def _connect(self, caller: socket.socket) -> None:
        with caller:
            try:
                called = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                return
            with called:
                back = threading.Thread(target=self._answers, args=(called, caller), daemon=True)
                back.start()
                self._requests(caller, called)
                back.join(10)

    def _requests(self, caller: socket.socket, called: socket.socket) -> None:
        passed = 0
        caller.settimeout(0.1)
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                try:
                    piece = caller.recv(_PIECE)
                except TimeoutError:
                    continue
                while self.stalls and not self._over.is_set():
                    time.sleep(0.02)
                if not piece:
                    break
                if self.bytes_per_s:
                    self._over.wait(len(piece) / self.bytes_per_s)
                if self.cut_after is not None and passed + len(piece) > self.cut_after:
                    break
                called.sendall(piece)
                passed += len(piece)
                self.passed += len(piece)
        for end in (called, caller):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _answers(self, called: socket.socket, caller: socket.socket) -> None:
        called.settimeout(0.1)
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                try:
                    piece = called.recv(65536)
                except TimeoutError:
                    continue
                while self.stalls and not self._over.is_set():
                    time.sleep(0.02)
                if not piece:
                    break
                caller.sendall(piece)
            caller.shutdown(socket.SHUT_WR)
