"""Which cipher suites are allowed, and who is told that a certificate ends."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicom_node.config import Config, load_config
from dicom_node.tls import certificates, harden, warn_of_ends

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def certificate(path: Path, name: str, days: int) -> Path:
    """Write a certificate that ends so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(named, named, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(path.read_bytes() if path.exists() else b"")
    with path.open("ab") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM))
    return path


def configured(folder: Path) -> Config:
    """Read a configuration that names a certificate in each place where one can be named."""
    path = folder / "config.yaml"
    path.write_text(
        "dicom: {tls: {cert: node.pem, key: node.key, ca: ca.pem}}\n"
        "audit: {syslog: {host: log.example, cert: node.pem, key: node.key, ca: missing.pem}}\n"
    )
    return load_config(path)


def test_only_suites_with_ephemeral_keys_and_authenticated_encryption_are_allowed() -> None:
    context = harden(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    suites = {suite["name"]: suite for suite in context.get_ciphers()}
    assert "ECDHE-RSA-AES128-GCM-SHA256" in suites
    assert "TLS_AES_128_GCM_SHA256" in suites
    assert all(suite["aead"] for suite in suites.values())
    assert all(name.startswith(("ECDHE-", "TLS_")) for name in suites)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_every_certificate_that_the_configuration_names_is_listed(tmp_path: Path) -> None:
    certificate(tmp_path / "node.pem", "node", 400)
    certificate(tmp_path / "ca.pem", "root", 3000)
    certificate(tmp_path / "ca.pem", "old root", 20)
    listed = [(it.setting, it.subject, it.ends - NOW) for it in certificates(configured(tmp_path))]
    assert listed == [
        ("dicom.tls.cert", "CN=node", timedelta(days=400)),
        ("dicom.tls.ca", "CN=root", timedelta(days=3000)),
        ("dicom.tls.ca", "CN=old root", timedelta(days=20)),
        ("audit.syslog.cert", "CN=node", timedelta(days=400)),
    ]


@pytest.mark.parametrize(
    ("days", "said"), [(31, None), (30, "ends on 2026-02-01"), (0, "has ended on 2026-01-02"), (-5, "has ended on")]
)
def test_an_end_that_is_near_is_told(tmp_path: Path, days: int, said: str | None) -> None:
    certificate(tmp_path / "node.pem", "node", days)
    first = certificates(configured(tmp_path))[0]
    warning = first.warning(NOW)
    assert warning is None if said is None else warning is not None and said in warning


def test_the_log_names_the_setting_the_file_and_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate(tmp_path / "ca.pem", "root", 12)
    certificate(tmp_path / "node.pem", "node", 400)
    with caplog.at_level(logging.WARNING):
        warn_of_ends(configured(tmp_path), NOW)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"dicom.tls.ca: the certificate CN=root in {tmp_path / 'ca.pem'} ends on 2026-01-14: renew it"
    )
