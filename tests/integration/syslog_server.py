"""A syslog server for tests: real TLS with client certificates, RFC 5425 frames taken apart, and bad manners."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class SyslogServer:
    """``messages`` are those it read to the end of a connection.

    :ivar breaks: how many connections it cuts in the middle.
    :ivar is_polite: whether it closes TLS as it should; else it only closes the socket.
    """

    port: int
    messages: list[bytes] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    breaks: int = 0
    is_polite: bool = True


@contextmanager
def running_syslog_server(cert: Path, key: Path, port: int = 0) -> Iterator[SyslogServer]:
    """Serve until the block ends; the client must show a certificate that ``cert`` signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cert)
    context.verify_mode = ssl.CERT_REQUIRED
    door = socket.create_server(("127.0.0.1", port))
    server = SyslogServer(door.getsockname()[1])
    stop = threading.Event()
    thread = threading.Thread(target=_serve, args=(door, context, server, stop))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        thread.join()


def _serve(door: socket.socket, context: ssl.SSLContext, server: SyslogServer, stop: threading.Event) -> None:
    with door:
        while not stop.is_set():
            plain, _ = door.accept()
            plain.settimeout(10)
            try:
                with plain, context.wrap_socket(plain, server_side=True) as connection:
                    _take(connection, server)
            except OSError:
                continue


def _take(connection: ssl.SSLSocket, server: SyslogServer) -> None:
    subject = connection.getpeercert()["subject"]
    server.clients.append(str(subject))
    if server.breaks:
        server.breaks -= 1
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
        return
    stream = b""
    while piece := connection.recv(65536):
        stream += piece
    while stream:
        length = re.match(rb"([1-9]\d*) ", stream)
        assert length is not None, stream[:40]
        start, end = length.end(), length.end() + int(length.group(1))
        assert len(stream) >= end, "a frame is cut"
        server.messages.append(stream[start:end])
        stream = stream[end:]
    if server.is_polite:
        connection.unwrap()
