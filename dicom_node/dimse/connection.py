"""The bytes of one association, seen from the acceptor: PDUs in and out over a socket (PS3.8 section 9).

pynetdicom serves an association with two threads that poll each other, reads 4096 bytes at a time and holds each
message in memory several times; a receiver built on it reaches half the speed of Orthanc. Here one thread blocks on one
socket, and a data set passes through one fixed buffer as it arrives, whatever its size and whatever the PDU size.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dicom_node.errors import NodeError

BUFFER_BYTES = 512 * 1024  # holds several PDUs of the usual sizes; larger PDUs stream through it
MAXIMUM_PDU_BYTES = 256 * 1024  # what we ask callers to keep to; 0 (no limit) confuses old toolkits
MAXIMUM_REQUEST_BYTES = 256 * 1024  # an A-ASSOCIATE-RQ with 128 contexts of 20 syntaxes each has about 80 KB
MAXIMUM_COMMAND_BYTES = 64 * 1024
LEAST_BYTES = 1024  # of a message in ``Timeouts.dimse_s``: who sends less holds its association on purpose


class Pdu(IntEnum):
    """PDU types (PS3.8 9.3.1)."""

    A_ASSOCIATE_RQ = 1
    A_ASSOCIATE_AC = 2
    A_ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    A_RELEASE_RQ = 5
    A_RELEASE_RP = 6
    A_ABORT = 7


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the acceptor waits, in seconds."""

    acse_s: float = 30  #: for the A-ASSOCIATE-RQ, and for the peer to close after a release; also for a TLS handshake
    #: for the next byte inside a message, and for :data:`LEAST_BYTES`: a cine over slow Wi-Fi stalls, but not that long
    dimse_s: float = 60
    network_s: float = 600  #: between messages: scanners hold an association open during an examination


class AssociationEnded(NodeError):
    """The association is over and nothing more can be exchanged on it.

    :ivar outcome: as the association log says it: released, aborted or lost.
    """

    def __init__(self, outcome: str, reason: str | None) -> None:
        super().__init__(reason or outcome)
        self.outcome = outcome
        self.reason = reason


class ProtocolViolation(NodeError):
    """The peer sent something that the upper layer protocol does not allow here."""


_PDU_HEADER = struct.Struct(">BxL")
_FRAGMENT_HEADER = struct.Struct(">LBB")
_P_DATA_HEADERS = struct.Struct(">BxLLBB")
_IS_COMMAND, _IS_LAST = 1, 2

_ABORT_SOURCES = {0: "by its application", 2: "by its network layer"}


@dataclass(frozen=True, slots=True)
class Fragment:
    """The header of one presentation data value (PS3.8 9.3.5.1); its bytes are still to be read."""

    context_id: int
    is_command: bool
    is_last: bool
    length: int


class Connection:
    """One accepted TCP connection. Only the thread that serves it reads; :meth:`cut` may come from any other."""

    def __init__(self, sock: socket.socket, timeouts: Timeouts) -> None:
        self._socket: Any = sock  # or the ssl.SSLSocket around it
        self._timeouts = timeouts
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._pdu_left = 0  # bytes of the current P-DATA-TF that no fragment has claimed yet
        self._cut_because: str | None = None
        self._request_until = math.inf
        self._patience_s = math.inf  # how long LEAST_BYTES of the message under way may take
        self._came, self._waited_s = 0, 0.0
        sock.settimeout(timeouts.acse_s)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Do the TLS handshake, as its server; for who says nothing in it, the wait has an end too.

        :raises OSError: it failed, was given up or was cut.
        """
        self._socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        if self._cut_because is None:
            self._socket.do_handshake()

    # Reading

    def read_association_request(self) -> bytes | None:
        """Read the A-ASSOCIATE-RQ, whole; None when the peer closes without a word (a port check)."""
        self._request_until = time.monotonic() + self._timeouts.acse_s  # ARTIM, PS3.8 9.1.4: not for each byte anew
        try:
            self._fill(1)
        except AssociationEnded:
            return None
        self._fill(6)
        kind, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
        if kind != Pdu.A_ASSOCIATE_RQ or length > MAXIMUM_REQUEST_BYTES:
            raise ProtocolViolation(f"the first PDU has type {kind} and {length} bytes: no association request")
        request = self._take(6 + length)
        self._request_until = math.inf
        return request

    def next_command(self) -> tuple[int, bytes] | None:
        """Wait for the next command: presentation context ID and encoded command set; None on a release request."""
        self._socket.settimeout(self._timeouts.network_s)
        self._patience_s = math.inf
        self._fill(1)
        self._patience_s, self._came, self._waited_s = self._timeouts.dimse_s, 0, 0.0
        fragment = self._next_fragment()
        if fragment is None:
            return None
        self._socket.settimeout(self._timeouts.dimse_s)
        encoded = bytearray()
        while True:
            if not fragment.is_command or len(encoded) + fragment.length > MAXIMUM_COMMAND_BYTES:
                raise ProtocolViolation("a command was expected")
            encoded += self._take(fragment.length)
            if fragment.is_last:
                return fragment.context_id, bytes(encoded)
            fragment = self._following_fragment(fragment.context_id)

    def data_set(self, context_id: int) -> Iterator[memoryview]:
        """Give the data set that follows a command, piece by piece as it arrives.

        Each piece is a window on the buffer and is valid only until the next one is asked for.
        """
        while True:
            fragment = self._following_fragment(context_id)
            if fragment.is_command:
                raise ProtocolViolation("a data set was expected")
            yield from self._pieces(fragment.length)
            if fragment.is_last:
                return

    def is_silent_for(self, seconds: float) -> bool:
        """Wait whether the peer stays silent that long; false as soon as it says or ends something."""
        if self._end > self._start:
            return False
        self._socket.settimeout(seconds)
        try:
            received = self._socket.recv_into(self._view[:1])
        except TimeoutError:
            return True
        except OSError:
            return False  # the next read tells the story
        self._start, self._end = 0, received
        return False

    def wait_for_close(self) -> None:
        """After an A-RELEASE-RP the requestor closes (PS3.8 9.2, Sta13); do not wait for ever."""
        self._socket.settimeout(min(self._timeouts.acse_s, 2))
        with contextlib.suppress(OSError):
            while self._socket.recv_into(self._view):
                pass

    # Writing

    def send(self, pdu: bytes) -> None:
        """Send a whole PDU."""
        try:
            self._socket.sendall(pdu)
        except OSError as error:
            raise self._lost(f"the connection broke while answering: {error}") from error

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None, peer_maximum: int) -> None:
        """Send a command and its data set, in PDUs of at most ``peer_maximum`` bytes (0: no limit)."""
        pdus = list(_fragments(context_id, command, _IS_COMMAND, peer_maximum))
        if data_set is not None:
            pdus += _fragments(context_id, data_set, 0, peer_maximum)
        self.send(b"".join(pdus))

    def send_release_response(self) -> None:
        """Agree to a release."""
        self.send(_PDU_HEADER.pack(Pdu.A_RELEASE_RP, 4) + bytes(4))

    def send_abort(self, *, by_provider: bool = False) -> None:
        """Send an A-ABORT, if the peer still listens."""
        with contextlib.suppress(OSError):
            self._socket.sendall(_PDU_HEADER.pack(Pdu.A_ABORT, 4) + bytes((0, 0, 2 if by_provider else 0, 0)))

    @property
    def is_cut(self) -> bool:
        """Whether it was told to end."""
        return self._cut_because is not None

    def cut(self, reason: str) -> None:
        """Abort from another thread: the serving thread wakes up, tells the peer and ends with this reason.

        Nothing is sent here: TLS takes one thread at a time, and a peer that reads nothing must not hold up the caller.
        """
        self._cut_because = reason
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RD)  # not that of ssl, which would forget the keys

    def close(self) -> None:
        """Close the socket; the peer sees the end of the stream."""
        with contextlib.suppress(OSError):
            self._socket.close()

    # The buffer

    def _next_fragment(self) -> Fragment | None:
        while self._pdu_left == 0:
            self._fill(6)
            kind, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
            if kind == Pdu.P_DATA_TF:
                self._start += 6
                self._pdu_left = length
            elif kind == Pdu.A_RELEASE_RQ:
                self._take(6 + 4)
                return None
            elif kind == Pdu.A_ABORT:
                source = self._take(6 + 4)[8]
                raise AssociationEnded("aborted", f"the caller aborted it ({_ABORT_SOURCES.get(source, 'no source')})")
            else:
                raise ProtocolViolation(f"a PDU of type {kind} is not allowed here")
        self._fill(6)
        length, context_id, control = _FRAGMENT_HEADER.unpack_from(self._buffer, self._start)
        if not 2 <= length <= self._pdu_left - 4:  # noqa: PLR2004 - context ID and control header count
            raise ProtocolViolation(f"a presentation data value of {length} bytes does not fit into its PDU")
        self._start += 6
        self._pdu_left -= 4 + length
        return Fragment(context_id, bool(control & _IS_COMMAND), bool(control & _IS_LAST), length - 2)

    def _following_fragment(self, context_id: int) -> Fragment:
        """Read the next fragment of the message under way."""
        fragment = self._next_fragment()
        if fragment is None:
            raise ProtocolViolation("a release was requested in the middle of a message")
        if fragment.context_id != context_id:
            raise ProtocolViolation("the presentation context changed in the middle of a message")
        return fragment

    def _pieces(self, length: int) -> Iterator[memoryview]:
        while length:
            if self._start == self._end:
                self._receive()
            here = min(length, self._end - self._start)
            piece = self._view[self._start : self._start + here]
            self._start += here
            length -= here
            yield piece

    def _take(self, count: int) -> bytes:
        return b"".join(bytes(piece) for piece in self._pieces(count))

    def _fill(self, count: int) -> None:
        """Have at least ``count`` bytes (a header's worth) in one piece."""
        if self._start + count > BUFFER_BYTES:
            rest = self._end - self._start
            self._view[:rest] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, rest
        while self._end - self._start < count:
            self._receive()

    def _receive(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        begun = time.monotonic()
        try:
            received = self._socket.recv_into(self._view[self._end :])
        except TimeoutError as error:
            raise self._lost(f"nothing came for {self._socket.gettimeout():g} s") from error
        except OSError as error:
            raise self._lost(f"the connection broke: {error}") from error
        if not received or self.is_cut:  # what is on its way still arrives after a cut
            raise self._lost("the caller closed the connection without releasing the association")
        now = time.monotonic()
        if now > self._request_until:
            raise self._lost(f"the association request was not whole after {self._timeouts.acse_s:g} s")
        self._end += received
        self._came, self._waited_s = self._came + received, self._waited_s + now - begun
        if self._came >= LEAST_BYTES:
            self._came, self._waited_s = 0, 0.0
        elif self._waited_s > self._patience_s:
            raise self._lost(f"less than {LEAST_BYTES} bytes of a message came in {self._patience_s:g} s")

    def _lost(self, reason: str) -> AssociationEnded:
        if self._cut_because is None:
            return AssociationEnded("lost", reason)
        self.send_abort()
        return AssociationEnded("aborted", self._cut_because)


def _fragments(context_id: int, encoded: bytes, kind: int, peer_maximum: int) -> Iterator[bytes]:
    # Even, as every fragment must be (PS3.8 Annex E.1), whatever the peer says.
    room = max((peer_maximum - 6) // 2 * 2, 2) if peer_maximum else max(len(encoded), 1)
    for at in range(0, len(encoded), room):
        part = encoded[at : at + room]
        control = kind | (_IS_LAST if at + room >= len(encoded) else 0)
        yield _P_DATA_HEADERS.pack(Pdu.P_DATA_TF, len(part) + 6, len(part) + 2, context_id, control) + part
