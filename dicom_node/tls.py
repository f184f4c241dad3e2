"""What all encrypted connections have in common: version and cipher suites, and when the certificates end.

PS3.15 B.12 (BCP 195: RFC 8996 and RFC 9325): TLS 1.2 or 1.3, ephemeral keys and authenticated encryption only.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from dicom_node.config import Config

logger = logging.getLogger(__name__)

SUITES_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"  #: all those of TLS 1.3 are good
WARN_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that the configuration names, and when it ends (UTC)."""

    setting: str
    path: Path
    subject: str
    ends: datetime

    def warning(self, now: datetime) -> str | None:
        """Say that it has ended or ends soon, and what to do; None while there is time."""
        if self.ends - now > WARN_BEFORE:
            return None
        how = "has ended on" if self.ends <= now else "ends on"
        return f"{self.setting}: the certificate {self.subject} in {self.path} {how} {self.ends:%Y-%m-%d}: renew it"


def harden(context: ssl.SSLContext) -> ssl.SSLContext:
    """Allow a context the versions and cipher suites of BCP 195 and no others."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES_OF_TLS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def certificates(config: Config) -> list[Certificate]:
    """List the certificates that the configuration names; what cannot be read is told by who wants to use it."""
    sections = {"dicom.tls": config.dicom.tls, "audit.syslog": config.audit.syslog}
    named = [
        (f"{section}.{kind}", path)
        for section, settings in sections.items()
        for kind in ("cert", "ca")
        if (path := getattr(settings, kind, None)) is not None
    ]
    return [certificate for setting, path in named for certificate in _in_file(setting, path)]


def warn_of_ends(config: Config, now: datetime) -> None:
    """Log a warning for each certificate that ends soon: nothing else tells before the connections fail."""
    for certificate in certificates(config):
        if warning := certificate.warning(now):
            logger.warning(warning)


def _in_file(setting: str, path: Path) -> Iterator[Certificate]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return
    for certificate in found:
        yield Certificate(setting, path, certificate.subject.rfc4514_string(), certificate.not_valid_after_utc)
