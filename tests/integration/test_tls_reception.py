"""The encrypted port: who shows no certificate is not served, and who says nothing holds up nobody."""

import contextlib
import socket
import ssl
import subprocess
import time

import pytest
import synthetic
from conftest import free_port
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from receiver import running_receiver, with_changes

from dicom_node.config import Tls
from dicom_node.errors import ConfigError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a key and a certificate that signs itself, good for both sides of a test."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def receiver(tmp_path, sqlite_url, certificate):
    cert, key = certificate
    tls = Tls(port=free_port(), cert=cert, key=key, ca=cert, require_client_cert=True)
    with running_receiver(tmp_path / "var", sqlite_url, change=lambda c: with_changes(c, "dicom", tls=tls)) as running:
        yield running


def client_context(certificate, *, show_ours=True):
    cert, key = certificate
    context = ssl.create_default_context(cafile=str(cert))
    if show_ours:
        context.load_cert_chain(cert, key)
    return context


def test_images_arrive_encrypted_while_a_mute_client_waits(receiver, certificate):
    with socket.create_connection(("127.0.0.1", receiver.config.dicom.tls.port)):
        entity = AE("SCANNER")
        entity.add_requested_context(synthetic.US_IMAGE, ExplicitVRLittleEndian)
        port, tls = receiver.config.dicom.tls.port, (client_context(certificate), "localhost")
        association = entity.associate("127.0.0.1", port, ae_title="NODE", tls_args=tls)
        assert association.is_established
        assert association.send_c_store(synthetic.image()).Status == 0
        association.release()
    assert [row.state for row in receiver.instances()] == ["stored"]
    assert receiver.associations()[0].outcome == "released"


def test_mute_clients_do_not_hold_up_the_end(receiver):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.config.dicom.tls.port)))
        time.sleep(0.5)  # by now their handshakes wait
        begun = time.monotonic()
        receiver.listener.stop(drain_s=0)
        assert time.monotonic() - begun < 4


def test_without_a_certificate_nobody_is_served(receiver, certificate):
    context = client_context(certificate, show_ours=False)
    with (
        socket.create_connection(("127.0.0.1", receiver.config.dicom.tls.port), timeout=10) as wire,
        pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"),
        context.wrap_socket(wire, server_hostname="localhost") as encrypted,
    ):
        encrypted.recv(1)  # in TLS 1.3 the refusal comes after the client's side of the handshake
    assert receiver.associations() == []


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_a_caller_with_old_cipher_suites_only_is_not_served(receiver, certificate, suite):
    context = client_context(certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    is_old = "GCM" not in suite
    with socket.create_connection(("127.0.0.1", receiver.config.dicom.tls.port), timeout=10) as wire:
        if is_old:
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
                context.wrap_socket(wire, server_hostname="localhost")
        else:
            with context.wrap_socket(wire, server_hostname="localhost") as encrypted:
                assert encrypted.cipher()[0] == suite


def test_files_that_cannot_be_used_are_named_at_the_start(tmp_path, sqlite_url):
    tls = Tls(port=free_port(), cert=tmp_path / "none.pem", key=tmp_path / "none.key")
    change = lambda c: with_changes(c, "dicom", tls=tls)  # noqa: E731
    with pytest.raises(ConfigError, match=r"dicom\.tls: certificate, key or ca cannot be used"):
        running_receiver(tmp_path / "var", sqlite_url, change=change).__enter__()
