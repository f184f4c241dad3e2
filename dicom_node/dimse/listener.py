"""The listening side of the node: accepts connections, gives each a thread, and drains when asked to stop."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable

from dicom_node.config import Config, Dicom, Tls
from dicom_node.dimse.admission import (
    Rejection,
    admit,
    most_for_one_caller,
    plain_address,
    too_many,
    too_many_of_one,
)
from dicom_node.dimse.association import Association
from dicom_node.dimse.connection import Connection, Timeouts
from dicom_node.dimse.contexts import Purpose
from dicom_node.dimse.handlers import Caller, Handlers
from dicom_node.errors import ConfigError
from dicom_node.tls import harden

logger = logging.getLogger(__name__)

BACKLOG = 128
END_WITHIN_S = 5  # a thread that was told to end
ACCEPT_EVERY_S = 0.2  # how often an idle accept loop looks whether it should stop
SPARE_CONNECTIONS = 64  # beyond the association limit: callers that have not asked yet, or are being rejected
KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))  # a dead peer: 2 minutes


class Listener:
    """Serves DICOM associations on ``config.dicom`` (and its TLS port) until :meth:`stop`.

    Several processes may listen on one port (SO_REUSEPORT): the kernel spreads the connections.
    """

    def __init__(
        self, current_config: Callable[[], Config], handlers: Handlers, timeouts: Timeouts | None = None
    ) -> None:
        self._current_config = current_config
        self._handlers = handlers
        self._timeouts = timeouts or Timeouts()
        self._stopping = threading.Event()
        self._open: dict[threading.Thread, Connection] = {}  # the longest first
        self._admitted: dict[threading.Thread, Caller] = {}  # of these, who may hold an association
        self._lock = threading.Lock()
        self._doors: list[threading.Thread] = []
        self.port = current_config().dicom.port

    @property
    def associations(self) -> int:
        """How many associations are open now."""
        return len(self._admitted)

    def start(self) -> None:
        """Bind and begin to accept; the call returns at once.

        :raises ConfigError: when a port cannot be bound or the TLS files cannot be used.
        """
        dicom = self._current_config().dicom
        context = server_context(dicom.tls) if dicom.tls is not None else None
        doors: list[tuple[socket.socket, ssl.SSLContext | None]] = [(_bind(dicom, dicom.port), None)]
        if dicom.tls is not None:
            try:
                doors.append((_bind(dicom, dicom.tls.port), context))
            except ConfigError:
                doors[0][0].close()
                raise
        for door, context in doors:
            thread = threading.Thread(target=self._accept, args=(door, context), name="listener", daemon=True)
            self._doors.append(thread)
            thread.start()
        logger.info("listening as %s on %s:%d", self._current_config().node.ae_title, dicom.host, dicom.port)

    def stop(self, drain_s: float = 30) -> None:
        """Accept no more, let open associations finish for so long, then abort what is left."""
        self._stopping.set()
        for door in self._doors:
            door.join()
        deadline = time.monotonic() + drain_s
        for thread in list(self._open):
            thread.join(max(0, deadline - time.monotonic()))
        left = list(self._open.items())
        for _, connection in left:
            connection.cut("the node is shutting down")
        deadline = time.monotonic() + END_WITHIN_S
        for thread, _ in left:
            thread.join(max(0, deadline - time.monotonic()))

    def _accept(self, door: socket.socket, context: ssl.SSLContext | None) -> None:
        door.settimeout(ACCEPT_EVERY_S)
        with door:
            while True:
                try:
                    sock, address = door.accept()
                except TimeoutError:
                    # Looked at only when the queue is empty: who was let in by the kernel is also served.
                    if self._stopping.is_set():
                        return
                    continue
                except OSError:
                    logger.exception("a connection could not be accepted")
                    time.sleep(ACCEPT_EVERY_S)  # out of descriptors: give the open associations time to end
                    continue
                host = plain_address(str(address[0]))
                try:
                    self._welcome(sock, host, context)
                except Exception:  # no thread or no memory: this one is not served, the next may be
                    logger.exception("a connection from %s cannot be served", host)
                    sock.close()

    def _welcome(self, sock: socket.socket, host: str, context: ssl.SSLContext | None) -> None:
        if not self._has_room():
            logger.warning("a connection from %s was closed: too many are open", host)
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        thread = threading.Thread(target=self._serve, args=(host, context), name=f"association-{host}", daemon=True)
        with self._lock:
            self._open[thread] = Connection(sock, self._timeouts)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                del self._open[thread]
            raise

    def _has_room(self) -> bool:
        """Tell whether another connection may come.

        Who has been here longest without asking for an association makes room: who means it asks at once.
        """
        if len(self._open) < self._current_config().dicom.max_associations + SPARE_CONNECTIONS:
            return True
        with self._lock:
            waiting = [it for thread, it in self._open.items() if thread not in self._admitted and not it.is_cut]
        if waiting:
            waiting[0].cut("it asked for no association while others waited")
        return bool(waiting)

    def _serve(self, host: str, context: ssl.SSLContext | None) -> None:
        """Serve one connection. The TLS handshake happens here, so a mute client holds up nobody else."""
        me = threading.current_thread()
        connection = self._open[me]
        try:
            if context is not None:
                connection.encrypt(context)
            Association(connection, host, self._handlers, self._admit).serve()
        except (OSError, ssl.SSLError) as error:
            logger.warning("no TLS connection with %s: %s", host, error)
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):  # that one only looked in
                self._handlers.handshake_failed(host, str(error))
        finally:
            connection.close()
            with self._lock:
                del self._open[me]
                self._admitted.pop(me, None)

    def _admit(self, caller: Caller) -> Purpose | Rejection:
        config = self._current_config()
        verdict = admit(caller, config, _addresses)
        if isinstance(verdict, Purpose):
            limit = config.dicom.max_associations
            most = most_for_one_caller(limit)
            with self._lock:
                if len(self._admitted) >= limit:
                    return too_many(limit)
                if list(self._admitted.values()).count(caller) >= most:
                    return too_many_of_one(most)
                self._admitted[threading.current_thread()] = caller
        return verdict


def server_context(tls: Tls) -> ssl.SSLContext:
    """Build the TLS side of the listener (PS3.15 B.12), with client certificates when asked for."""
    context = harden(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    try:
        context.load_cert_chain(tls.cert, tls.key)
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"dicom.tls: certificate, key or ca cannot be used: {error}") from error
    if tls.require_client_cert:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def is_served(dicom: Dicom) -> bool:
    """Tell whether somebody listens on the port already. SO_REUSEPORT would let us share it with a stranger."""
    with _door(dicom) as door:
        try:
            door.bind((dicom.host, dicom.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _door(dicom: Dicom) -> socket.socket:
    door = socket.socket(socket.AF_INET6 if ":" in dicom.host else socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return door


def _bind(dicom: Dicom, port: int) -> socket.socket:
    door = _door(dicom)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        door.bind((dicom.host, port))
        door.listen(BACKLOG)
    except OSError as error:
        door.close()
        raise ConfigError(f"dicom: cannot listen on {dicom.host}:{port}: {error.strerror}") from error
    return door


def _addresses(host: str) -> frozenset[str]:
    with contextlib.suppress(OSError):
        return frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None))
    return frozenset()
