"""The audit trail on its way to a real syslog server over TLS, with all that happens to servers."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from conftest import free_port
from syslog_server import running_syslog_server

from dicom_node.audit import syslog
from dicom_node.audit.acts import Audit, entity, this_process
from dicom_node.audit.message import Source
from dicom_node.audit.reading import newest
from dicom_node.audit.syslog import Forwarder, remove_old, unsent_bytes
from dicom_node.audit.trail import Trail, days
from dicom_node.config import Syslog

NODE = this_process("DICOM_NODE", "io-0")
SCANNER = entity("VOLUSON1", "10.0.0.7")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a key and a certificate that signs itself, good for both sides."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


class Node:
    """A trail that a test adds to, and its forwarder."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path], port: int) -> None:
        self.folder = folder
        self.time = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
        trail = Trail(folder, Source("DICOM_NODE@node1", "St Mary's"), NODE, lambda: self.time)
        self.audit = Audit(NODE, trail.record)
        cert, key = certificate
        self.settings = Syslog(host="127.0.0.1", port=port, ca=cert, cert=cert, key=key)
        self.forwarder = Forwarder(folder, self.settings)

    def tell(self, *reasons: str) -> None:
        for reason in reasons:
            self.audit.rejected(SCANNER, reason)


def said(messages: list[bytes]) -> list[str | None]:
    """Take the reasons out of what a server has."""
    texts = [message.partition(b"\xef\xbb\xbf")[2].decode() for message in messages]
    return [fromstring(text).findtext("EventIdentification/EventOutcomeDescription") for text in texts]


def test_messages_arrive_in_order_and_once_in_the_form_of_rfc_5424(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with running_syslog_server(*certificate) as server:
        node = Node(tmp_path, certificate, server.port)
        node.tell("one", "zwölf")
        node.time += timedelta(days=1)
        node.audit.started()
        assert node.forwarder.send_waiting() == 3
        assert node.forwarder.send_waiting() == 0
        node.tell("more")
        assert Forwarder(tmp_path, node.settings).send_waiting() == 1  # another process goes on where this one stopped
    assert said(server.messages) == ["one", "zwölf", None, "more"]
    assert "localhost" in server.clients[0]  # we showed a certificate
    header, bom, message = server.messages[0].partition(b"\xef\xbb\xbf")
    assert bom
    # facility 10, severity 4 (a minor failure); then version, time, host, application, process, message id, no data
    time_of_event = r"2026-11-21T08:00:00\.000\+00:00"
    assert re.fullmatch(rf"<84>1 {time_of_event} node1 DICOM_NODE - DICOM\+RFC3881 - ", header.decode())
    assert message.startswith(b"<AuditMessage>")
    assert server.messages[2].startswith(b"<85>1 ")  # a success


def test_while_the_server_is_away_nothing_is_lost_and_nobody_waits(
    tmp_path: Path, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(tmp_path, certificate, free_port())
    node.tell("one")
    assert node.forwarder.send_waiting() == 0
    node.tell("two")
    assert node.forwarder.send_waiting() == 0
    assert caplog.text.count("cannot be sent to 127.0.0.1") == 1  # told once, not at every try
    assert unsent_bytes(tmp_path) == days(tmp_path)[0].stat().st_size
    with running_syslog_server(*certificate, port=node.settings.port) as server:
        assert node.forwarder.send_waiting() == 2
    assert said(server.messages) == ["one", "two"]
    assert unsent_bytes(tmp_path) == 0


def test_a_server_that_closes_without_a_word_has_read_all(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with running_syslog_server(*certificate) as server:
        server.is_polite = False
        node = Node(tmp_path, certificate, server.port)
        node.tell("one")
        assert node.forwarder.send_waiting() == 1
        assert node.forwarder.send_waiting() == 0
    assert said(server.messages) == ["one"]


def test_a_connection_that_breaks_has_its_messages_sent_again(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with running_syslog_server(*certificate) as server:
        node = Node(tmp_path, certificate, server.port)
        node.tell(*(f"{number} {'x' * 900}" for number in range(700)))
        server.breaks = 1
        assert node.forwarder.send_waiting() == 0
        assert node.forwarder.send_waiting() == 700
    assert [str(text).split()[0] for text in said(server.messages)] == [str(number) for number in range(700)]


def test_a_server_of_another_name_gets_nothing(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    key, cert = stranger / "key.pem", stranger / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True)
    with running_syslog_server(cert, key) as server:
        node = Node(tmp_path, certificate, server.port)
        node.tell("one")
        assert node.forwarder.send_waiting() == 0
    assert server.messages == []


def test_a_mute_server_holds_up_no_act(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog, "TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # it takes connections, and never says a word
        node = Node(tmp_path, certificate, mute.getsockname()[1])
        node.tell("one")
        sending = threading.Thread(target=node.forwarder.send_waiting)
        begun = time.monotonic()
        sending.start()
        node.tell(*(str(number) for number in range(20)))
        assert time.monotonic() - begun < 0.9
        assert sending.is_alive()
        sending.join(5)
        assert not sending.is_alive()


def test_what_age_removes_before_it_was_sent_is_counted_and_told(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with running_syslog_server(*certificate) as server:
        node = Node(tmp_path, certificate, server.port)
        node.tell("sent")
        node.forwarder.send_waiting()
    node.tell("never one", "never two")
    node.time += timedelta(days=1)
    node.tell("never three")
    node.time += timedelta(days=1)
    node.tell("young")
    remove_old(tmp_path, node.time.date(), tell_lost=node.audit.lost)
    assert [file.name for file in days(tmp_path)] == ["2026-11-23.jsonl"]
    assert newest(tmp_path, 1)[0]["said"] == "3 messages were removed by age before the syslog server took them"
    with running_syslog_server(*certificate, port=node.settings.port) as server:
        assert node.forwarder.send_waiting() == 2
    assert said(server.messages)[0] == "young"


def test_without_a_server_age_loses_nothing(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    node = Node(tmp_path, certificate, 1)
    node.tell("old")
    node.time += timedelta(days=1)
    node.tell("young")
    remove_old(tmp_path, node.time.date(), tell_lost=None)
    assert [entry["said"] for entry in newest(tmp_path, 9)] == ["young"]
