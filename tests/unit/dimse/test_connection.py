import socket

import pytest

from dicom_node.dimse.connection import Connection, Timeouts


@pytest.mark.parametrize("peer_maximum", [0, 1, 7, 16, 17, 1001])
def test_fragments_are_even_and_fit_whatever_the_peers_maximum(peer_maximum: int) -> None:
    here, there = socket.socketpair()
    with here, there:
        Connection(here, Timeouts()).send_message(1, b"c" * 100, b"d" * 50, peer_maximum)
        here.shutdown(socket.SHUT_WR)
        sent = b"".join(iter(lambda: there.recv(65536), b""))
    values, at = b"", 0
    while at < len(sent):
        length = int.from_bytes(sent[at + 2 : at + 6], "big")
        value = sent[at + 12 : at + 6 + length]
        assert len(value) % 2 == 0
        assert length <= peer_maximum or peer_maximum < 8  # no PDU of less than 8 bytes can carry anything
        values += value
        at += 6 + length
    assert values == b"c" * 100 + b"d" * 50
