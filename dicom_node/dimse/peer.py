"""Opening associations with others: one place for timeouts, TLS, and what went wrong in plain words."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_node.config import Config, Destination, Tls
from dicom_node.errors import DeliveryError, NothingAccepted, PermanentDeliveryError, TransientDeliveryError
from dicom_node.tls import harden

UNLIMITED_PDU = 0
CONTEXTS_AT_MOST = 128  # PS3.8 9.3.2.2: odd ids from 1 to 255


@dataclass(frozen=True, slots=True)
class Peer:
    """Where an application entity is reached.

    :ivar identity: with ``tls``: the certificate that we show, and the authority that must have signed the peer's.
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False
    identity: Tls | None = None

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


def peer_of(config: Config, destination: Destination) -> Peer:
    """Say where a destination is reached, and as whom we present ourselves there."""
    return Peer(destination.ae_title, destination.host, destination.port, destination.tls, config.dicom.tls)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds: for the connection, for the association, for an answer, for the network."""

    connect_s: float = 10
    acse_s: float = 15
    dimse_s: float = 60
    network_s: float = 60


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose; ``as_scp`` asks for the SCP role (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    transfer_syntaxes: tuple[str, ...]
    as_scp: bool = False


#: Why a peer rejects an association, by source and reason (PS3.8 Table 9-21).
_WHY_REJECTED = {
    (1, 1): "no reason given",
    (1, 2): "the application context is not supported",
    (1, 3): "it does not know our AE title",
    (1, 7): "that is not its AE title",
    (2, 1): "no reason given",
    (2, 2): "the protocol version is not supported",
    (3, 1): "it is congested for the moment",
    (3, 2): "its limit of associations is reached",
}
_PERMANENTLY = 1


@contextmanager
def associate(
    peer: Peer,
    calling_ae_title: str,
    proposals: Sequence[Proposal],
    timeouts: Timeouts,
    handlers: Sequence[tuple[Any, Callable[[Any], Any]]] = (),
) -> Iterator[Association]:
    """Open an association and release it at the end of the block (abort it when the block fails).

    :raises TransientDeliveryError: nobody listens there, the peer is silent, or it rejects us for now.
    :raises PermanentDeliveryError: the peer rejects us for good.
    :raises NothingAccepted: the peer accepts no context.
    """
    ae = AE(calling_ae_title)
    ae.connection_timeout = timeouts.connect_s
    ae.acse_timeout = timeouts.acse_s
    ae.dimse_timeout = timeouts.dimse_s
    ae.network_timeout = timeouts.network_s
    for proposal in proposals[:CONTEXTS_AT_MOST]:
        ae.add_requested_context(proposal.sop_class_uid, list(proposal.transfer_syntaxes))
    connected = False

    def prepare(event: Any) -> None:
        nonlocal connected
        connected = True
        _prepare_socket(event.assoc.dul.socket.socket, timeouts)

    try:
        association = ae.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            max_pdu=UNLIMITED_PDU,
            ext_neg=[build_role(UID(p.sop_class_uid), scp_role=True) for p in proposals if p.as_scp],
            evt_handlers=[(evt.EVT_CONN_OPEN, prepare), *handlers],
            tls_args=(_client_context(peer.identity), peer.host) if peer.tls else None,
        )
    except OSError as error:
        raise TransientDeliveryError(f"{peer} could not be reached: {error.strerror}") from error
    except UnicodeError as error:
        raise TransientDeliveryError(f"{peer} could not be reached: no host has such a name") from error
    if not association.is_established:
        raise _why_not(peer, association, timeouts, connected=connected)
    _wait_while_bytes_move(association, timeouts.dimse_s)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        association.release()


def echo(peer: Peer, calling_ae_title: str, timeouts: Timeouts | None = None) -> None:
    """Ask a peer whether it is there (C-ECHO, PS3.4 Annex A).

    :raises DeliveryError: with the reason in plain words.
    """
    timeouts = timeouts or Timeouts()
    proposals = [Proposal(Verification, ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"))]
    with associate(peer, calling_ae_title, proposals, timeouts) as association:
        begun = time.monotonic()
        status = association.send_c_echo()
        if "Status" not in status:
            raise no_answer(peer, association, timeouts, time.monotonic() - begun)
        if status.Status != 0:
            raise TransientDeliveryError(f"{peer} answered the C-ECHO with {status.Status:04X}", status=status.Status)


def no_answer(peer: Peer, association: Association, timeouts: Timeouts, waited_s: float) -> TransientDeliveryError:
    """Say why an answer is missing: the peer aborted, was silent for too long, or the connection broke."""
    if association.acse.is_aborted("a-abort"):
        return TransientDeliveryError(f"{peer} aborted the association")
    if waited_s >= timeouts.dimse_s:
        return TransientDeliveryError(f"{peer} did not answer within {timeouts.dimse_s:g} s")
    return TransientDeliveryError(f"the connection with {peer} broke")


def _prepare_socket(sock: socket.socket, timeouts: Timeouts) -> None:
    """Send small pieces at once, and never wait for ever on a peer that stopped reading."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_AT_MOST)
    seconds, microseconds = divmod(round(timeouts.network_s * 1_000_000), 1_000_000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, microseconds))


def _wait_while_bytes_move(association: Association, dimse_s: float) -> None:
    """Begin to wait for an answer only when the peer has got the whole request.

    pynetdicom begins when it has put the request into its queue. Over a line of 1 KB/s nothing larger than 60 KB would
    ever be answered in time; so the wait begins anew as long as the peer's machine acknowledges more bytes.
    """
    sock: Any = association.dul.socket.socket  # type: ignore[union-attr]  # it is established
    get_message = association.dimse.get_msg

    def get_message_in_the_end(block: bool = False) -> Any:  # noqa: FBT001, FBT002 - as pynetdicom calls it
        while True:
            begun, acknowledged = time.monotonic(), _acknowledged_bytes(sock)
            answer = get_message(block)
            is_over = answer != (None, None) or not block or time.monotonic() - begun < dimse_s
            if is_over or _acknowledged_bytes(sock) == acknowledged:
                return answer

    association.dimse.get_msg = get_message_in_the_end  # type: ignore[method-assign]


def _acknowledged_bytes(sock: socket.socket) -> int:
    """Count what the peer has got: tcpi_bytes_acked of Linux (tcp(7)); 0 where there is none, or no connection."""
    try:
        return int(_BYTES_ACKED.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))[0])
    except (OSError, struct.error):
        return 0


_BYTES_ACKED = struct.Struct("@120xQ")
UNSENT_AT_MOST = 64 * 1024  # in the kernel: a send that waits goes on when a little has gone, not when a third has


def _client_context(identity: Tls | None) -> ssl.SSLContext:
    """Build the calling side of TLS (PS3.15 B.12); the peer's certificate is always checked."""
    try:
        context = harden(ssl.create_default_context(cafile=identity.ca if identity else None))
        if identity is not None:
            context.load_cert_chain(identity.cert, identity.key)
    except OSError as error:
        raise TransientDeliveryError(f"dicom.tls: certificate, key or ca cannot be used: {error}") from error
    return context


def _why_not(peer: Peer, association: Association, timeouts: Timeouts, *, connected: bool) -> DeliveryError:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        why = _WHY_REJECTED.get((answer.result_source or 0, answer.diagnostic or 0), "no reason given")
        message = f"{peer} rejected the association: {why}"
        return PermanentDeliveryError(message) if answer.result == _PERMANENTLY else TransientDeliveryError(message)
    if association.rejected_contexts and not association.accepted_contexts:
        return NothingAccepted(f"{peer} accepted none of the proposed presentation contexts")
    if not connected:
        how = "or the TLS handshake failed" if peer.tls else "or no way leads there"
        return TransientDeliveryError(f"{peer} could not be reached: nobody listens there, {how}")
    if association.acse.is_aborted():
        return TransientDeliveryError(f"{peer} aborted during the association request")
    return TransientDeliveryError(f"{peer} did not answer the association request within {timeouts.acse_s:g} s")
