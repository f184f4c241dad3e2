"""A scanner that misbehaves harms itself at most: others are served as ever, and nothing of it stays.

Each misbehaviour is done to a receiver in a process of its own. While it lasts another scanner is served, within a
second of what it takes on the quiet receiver before and after. When it is over, the connections, threads, files, log
entries and association slots are those of before, and the memory was bounded all the while.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import synthetic
from conftest import wait_until
from proxy import Proxy
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from receiver import association_request, p_data, scanner, store_command
from receiver_process import DIMSE_S, MAX_ASSOCIATIONS, NETWORK_S, ReceiverProcess, receiver_process
from small_disk import MIB

US = (synthetic.US_IMAGE, ExplicitVRLittleEndian)
VERIFICATION = ("1.2.840.10008.1.1", ImplicitVRLittleEndian)
ECHO = b"".join(
    struct.pack("<HHLH", 0, tag, 2, value) for tag, value in ((0x0100, 0x30), (0x0110, 1), (0x0800, 0x0101))
)
ABORT = struct.pack(">BBL4x", 7, 0, 4)
ACCEPTED, REJECTED, MESSAGE, ABORTED = 2, 3, 4, 7
MEMORY_MIB = 100  # the buffers of MAX_ASSOCIATIONS + SPARE_CONNECTIONS are 37 of them
_numbers = itertools.count(1)
IMAGE = encode(synthetic.image(SOPInstanceUID="1.2.3.4"), False, True) or b""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[ReceiverProcess]:
    folder = tmp_path_factory.mktemp("receiver")
    with receiver_process(folder, certificate) as node:
        for _ in range(3):
            serve(node)
        yield node


def serve(node: ReceiverProcess) -> float:
    """Let a scanner that behaves ask for an echo and store an image; gives the seconds that it took."""
    ds = synthetic.image(number=next(_numbers))
    begun = time.monotonic()
    with scanner(node, VERIFICATION, US) as association:
        assert association.is_established
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(ds).Status == 0
    return time.monotonic() - begun


# What a scanner can do wrong


Wrong = Callable[[ReceiverProcess, ExitStack], None]


def connect(node: ReceiverProcess, stack: ExitStack, port: int | None = None) -> socket.socket:
    wire = stack.enter_context(socket.create_connection(("127.0.0.1", port or node.port), timeout=60))
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def associated(node: ReceiverProcess, stack: ExitStack, calling: str = "BAD") -> socket.socket:
    """Open an association by hand."""
    wire = connect(node, stack)
    wire.sendall(association_request(US, VERIFICATION, calling=calling))
    assert answer(wire) == ACCEPTED
    return wire


def answer(wire: socket.socket) -> int | None:
    """Read one PDU and give its type, None when there is no more."""
    try:
        head = wire.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            return None
        wire.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL)
    except ConnectionError:
        return None
    return head[0]


def begin_image(wire: socket.socket) -> None:
    """Send the request and the first kilobyte of an image."""
    wire.sendall(p_data(3, store_command("1.2.3.4")) + p_data(0, IMAGE[:1000]))


def aborts(node: ReceiverProcess, stack: ExitStack) -> None:
    for _ in range(5):
        wire = associated(node, stack)
        begin_image(wire)
        wire.sendall(ABORT)


def resets_the_connection(node: ReceiverProcess, stack: ExitStack) -> None:
    for _ in range(5):
        wire = associated(node, stack)
        begin_image(wire)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()


def half_closes(node: ReceiverProcess, stack: ExitStack) -> None:
    for prepare in (connect, associated, associated):
        wire = prepare(node, stack)
        if prepare is associated:
            begin_image(wire)
        wire.shutdown(socket.SHUT_WR)


def sends_garbage_before_the_association(node: ReceiverProcess, stack: ExitStack) -> None:
    hello = tls_hello()
    for garbage in (
        b"GET / HTTP/1.1\r\n\r\n",
        hello,
        os.urandom(200),
        os.urandom(100_000),
        b"\x01\0\0\0\0\x02\xff\xff",
    ):
        wire = connect(node, stack)
        with contextlib.suppress(ConnectionError):  # it is thrown out at the first PDU
            wire.sendall(garbage)


def sends_garbage_in_the_association(node: ReceiverProcess, stack: ExitStack) -> None:
    for garbage in (
        os.urandom(3000),
        b"\x09" + bytes(50),  # no such PDU
        association_request(US),
        p_data(2, b"a data set before any command"),
        p_data(3, store_command("1.2.3.4"), context_id=77),
        p_data(3, os.urandom(500)),
        struct.pack(">BBLLBB", 4, 0, 6, 60_000, 1, 3) + bytes(60_000),  # a value larger than its PDU
    ):
        wire = associated(node, stack)
        with contextlib.suppress(ConnectionError):
            wire.sendall(garbage)
        assert answer(wire) in (ABORTED, None)


def opens_500_connections(node: ReceiverProcess, stack: ExitStack) -> None:
    for _ in range(500):
        connect(node, stack)


def asks_for_100_associations(node: ReceiverProcess, stack: ExitStack) -> None:
    wires = []
    for _ in range(100):  # each refusal is a row in the log
        wires.append(connect(node, stack))
        with contextlib.suppress(ConnectionError):
            wires[-1].sendall(association_request(US, calling="BAD"))
    answers = [answer(wire) for wire in wires[:20]]
    assert (answers.count(ACCEPTED), answers.count(REJECTED)) == (8, 12)


def says_nothing_after_the_tls_hello(node: ReceiverProcess, stack: ExitStack) -> None:
    for said in [tls_hello(), tls_hello()[:50], b""] * 7:
        connect(node, stack, node.tls_port).sendall(said)


def tls_hello() -> bytes:
    """Give the first bytes of a TLS client, PS3.15 B.12."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def offers_128_contexts(node: ReceiverProcess, stack: ExitStack) -> None:
    wire = connect(node, stack)
    wire.sendall(association_request(*[VERIFICATION] * 128, calling="BAD"))
    assert answer(wire) == ACCEPTED
    wire.sendall(p_data(3, ECHO, context_id=255))
    assert answer(wire) == MESSAGE


def offers_4000_contexts(node: ReceiverProcess, stack: ExitStack) -> None:
    """Send more than the standard allows, as somebody who is not even known."""
    for calling in ("BAD", "STRANGER"):
        wire = connect(node, stack)
        wire.sendall(association_request(*[VERIFICATION] * 4000, calling=calling))
        assert answer(wire) in (ABORTED, None)


def states_4_gb(node: ReceiverProcess, stack: ExitStack) -> None:
    wire = connect(node, stack)
    wire.sendall(b"\x01\0\xff\xff\xff\xff" + bytes(1000))
    assert answer(wire) in (ABORTED, None)
    wire = associated(node, stack)  # a command that would fill the memory
    wire.sendall(struct.pack(">BBLLBB", 4, 0, 0xFFFFFFFF, 0xFFFFFFF0, 1, 3) + bytes(100_000))
    assert answer(wire) in (ABORTED, None)
    wire = associated(node, stack)  # a data set, of which 100 MB come
    wire.sendall(p_data(3, store_command("1.2.3.4")))
    wire.sendall(struct.pack(">BBLLBB", 4, 0, 0xFFFFFFFF, 0xFFFFFFF0, 1, 2))
    for _ in range(100):
        wire.sendall(bytes(MIB))
    wire = associated(node, stack)  # an element in a whole data set: kept, and set aside
    data_set = bytearray(IMAGE)
    data_set[data_set.index(b"\x08\x00\x60\x00CS") :] = b"\x08\x00\x60\x00UT\0\0\xff\xff\xff\xf0" + bytes(5000)
    wire.sendall(p_data(3, store_command("1.2.3.5")) + p_data(2, bytes(data_set)))
    assert answer(wire) == MESSAGE


def sends_pdus_of_16_mb(node: ReceiverProcess, stack: ExitStack) -> None:
    beginning, rest = p_data(0, IMAGE + bytes(16 * MIB)), p_data(0, bytes(16 * MIB)) + p_data(2, bytes(16 * MIB))
    wire = associated(node, stack)
    wire.sendall(p_data(3, store_command("1.2.3.6")) + beginning)
    wire.sendall(rest)
    assert answer(wire) == MESSAGE


def never_releases(node: ReceiverProcess, stack: ExitStack) -> None:
    for _ in range(8):
        associated(node, stack)


def drips(node: ReceiverProcess, stack: ExitStack) -> None:
    """Send requests a byte at a time, so that no wait for the next byte ever ends."""
    wires = [connect(node, stack) for _ in range(100)]
    over = threading.Event()

    def drip() -> None:
        for byte in association_request(US):
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.send(bytes((byte,)))
            if over.wait(0.2):
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    stack.callback(dripping.join)
    stack.callback(over.set)


def drips_an_image(node: ReceiverProcess, stack: ExitStack) -> None:
    """Send images a byte at a time: each comes before the wait for it ends, and the last of them never."""
    wires = [associated(node, stack, calling) for calling in ("BAD", "SCANNER") * 4]
    over = threading.Event()
    for wire in wires:
        begin_image(wire)
        wire.sendall(p_data(0, bytes(600))[:12])

    def drip() -> None:
        while not over.wait(DIMSE_S / 4):
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.send(b"\0")

    dripping = threading.Thread(target=drip)
    dripping.start()
    stack.callback(dripping.join)
    stack.callback(over.set)


def reads_no_answer(node: ReceiverProcess, stack: ExitStack) -> None:
    wire = associated(node, stack)
    wire.settimeout(0.2)
    with contextlib.suppress(TimeoutError, ConnectionError):
        for _ in range(10_000):
            wire.sendall(p_data(3, ECHO, context_id=3) * 100)


WRONG: tuple[Wrong, ...] = (
    aborts,
    resets_the_connection,
    half_closes,
    sends_garbage_before_the_association,
    sends_garbage_in_the_association,
    opens_500_connections,
    asks_for_100_associations,
    says_nothing_after_the_tls_hello,
    offers_128_contexts,
    offers_4000_contexts,
    states_4_gb,
    sends_pdus_of_16_mb,
    never_releases,
    drips,
    drips_an_image,
    reads_no_answer,
)


@pytest.mark.parametrize("do_wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_others_are_served_and_nothing_stays(
    node: ReceiverProcess, do_wrong: Wrong, record_property: Callable[[str, object], None]
) -> None:
    wait_until(lambda: node.connections() == 0, 60, "a quiet receiver")
    normal_s = [serve(node) for _ in range(3)]
    wait_until(lambda: node.connections() == 0, 60, "a quiet receiver")
    threads, files = node.threads(), node.other_files()
    node.forget_peak()
    before = node.rss_mib()
    with ExitStack() as stack:
        do_wrong(node, stack)
        # The best of three: the machine of a test may be busy with something else for a second.
        took_s = min(serve(node) for _ in range(3))
        peak = node.peak_mib()
        assert peak - before < MEMORY_MIB
        # The receiver ends what the scanner does not.
        wait_until(lambda: node.connections() == 0, NETWORK_S + 30, "the end of every connection")
    wait_until(lambda: node.open_associations() == 0, 60, "the end of every association in the log")
    wait_until(lambda: node.threads() <= threads, 60, "the end of every thread")
    assert node.other_files() == files
    assert node.half_files() == 0
    take_every_slot(node)
    # Quiet again: the machine of a test may have become slower meanwhile.
    normal_s += [serve(node) for _ in range(3)]
    record_property("normal_s", f"{max(normal_s):.2f}")
    record_property("took_s", f"{took_s:.2f}")
    record_property("memory_mib", f"{peak - before:.0f}")
    assert took_s < max(normal_s) + 1


def take_every_slot(node: ReceiverProcess) -> None:
    """Have all associations that the receiver grants at once; one caller alone does not get them."""
    with ExitStack() as stack:
        for number in range(MAX_ASSOCIATIONS):
            associated(node, stack, "BAD" if number % 2 else "SCANNER")
    wait_until(lambda: node.connections() == 0, 60, "the end of every connection")


def test_a_scanner_on_a_slow_line_is_waited_for(node: ReceiverProcess) -> None:
    """Take an image over 1 KB/s: longer than the receiver waits for the next byte, or anything else."""
    image = IMAGE[:400]  # up to its series, and a little of the rest
    with Proxy(node.port, bytes_per_s=1000) as line, ExitStack() as stack:
        wire = connect(node, stack, line.port)
        wire.sendall(association_request(US) + p_data(3, store_command("1.2.3.7")) + p_data(2, image + bytes(6000)))
        begun = time.monotonic()
        assert (answer(wire), answer(wire)) == (ACCEPTED, MESSAGE)
        assert time.monotonic() - begun > 2 * DIMSE_S
