"""The trail sent on to a syslog server, over TLS (PS3.15 A.6: RFC 5424 messages in RFC 5425 frames).

The trail on the disk is the queue: every few seconds one process sends what was added since it stopped. So no act of
the node ever waits for the server, whatever happens to it; after an outage of any length everything is sent; and what
is kept for a dead server is bounded by ``audit.keep_days``. The protocol knows no answer. A piece counts as sent when
the server has closed the connection in order after it, as TLS asks; else it is sent again: a message may arrive twice.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self
from xml.etree.ElementTree import fromstring

from dicom_node.audit.reading import lines
from dicom_node.audit.trail import FOLDER, day_of, days
from dicom_node.config import Syslog
from dicom_node.errors import ConfigError
from dicom_node.tls import harden

logger = logging.getLogger(__name__)

POSITION = "sent"  #: the file that says how far the server has the trail
MESSAGE_ID = "DICOM+RFC3881"
_SECURITY = 10  # facility: security and authorisation messages
_SEVERITIES = {"0": 5, "4": 4, "8": 3, "12": 2}  # notice, warning, error, critical, by the outcome of the event
_BOM = b"\xef\xbb\xbf"

TIMEOUT_S = 10.0
PIECE = 500  #: messages


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far the server has the trail: so many bytes of that day's file, and all before it."""

    day: date
    offset: int

    def within(self, day: date) -> int:
        """Say how much of a day's file it covers; the days before are not asked for."""
        return self.offset if day == self.day else 0

    @classmethod
    def read(cls, data_dir: Path) -> Self | None:
        """Read where the last follower stopped; None when nothing was ever sent."""
        try:
            entry = json.loads((data_dir / FOLDER / POSITION).read_text(encoding="utf-8"))
            return cls(date.fromisoformat(entry["day"]), int(entry["offset"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # from the beginning: twice is better than never

    def write(self, data_dir: Path) -> None:
        """Keep it for the next follower. It is not flushed: after a power cut some messages are sent again."""
        file = data_dir / FOLDER / POSITION
        beside = file.with_name(f"{POSITION}.new")
        beside.write_text(json.dumps({"day": self.day.isoformat(), "offset": self.offset}), encoding="utf-8")
        beside.replace(file)


class Forwarder:
    """Sends the trail. Only one process may do so at a time."""

    def __init__(self, data_dir: Path, settings: Syslog) -> None:
        self._data_dir = data_dir
        self._settings = settings
        self._is_cut_off = False

    def send_waiting(self) -> int:
        """Send what the server has not got; says how many messages. A failure is logged, and all is tried again."""
        sent = 0
        try:
            while True:
                waiting, after = unsent(self._data_dir, PIECE)
                if waiting:
                    _send(self._settings, b"".join(frame(as_syslog(message)) for message in waiting))
                    after.write(self._data_dir)
                    sent += len(waiting)
                if len(waiting) < PIECE:
                    break
        except (OSError, ConfigError) as error:
            self._tell_failure(error)
            return sent
        if sent and self._is_cut_off:
            self._is_cut_off = False
            logger.info("the audit trail reaches its syslog server again")
        return sent

    def _tell_failure(self, error: Exception) -> None:
        if self._is_cut_off:
            return  # once, not every few seconds of a weekend
        self._is_cut_off = True
        server = f"{self._settings.host}:{self._settings.port}"
        logger.error("the audit trail cannot be sent to %s, it waits on the disk: %s", server, error)


def _send(settings: Syslog, frames: bytes) -> None:
    """Send on a connection of its own, and wait until the server has closed it: then it has read everything.

    :raises OSError: the server cannot be reached, is not who it should be, or broke the connection.
    """
    with socket.create_connection((settings.host, settings.port), TIMEOUT_S) as plain:
        connection = client_context(settings).wrap_socket(plain, server_hostname=settings.host)
        try:
            connection.sendall(frames)
            with suppress(ssl.SSLEOFError):  # many servers close without a word
                connection.unwrap()
        finally:
            connection.close()


def unsent(data_dir: Path, limit: int) -> tuple[list[str], Position]:
    """Read the next messages that the server has not got, and the position after them."""
    position = Position.read(data_dir) or Position(date.min, 0)
    messages: list[str] = []
    for file in _not_before(position, data_dir):
        day = day_of(file)
        for line in lines(file, position.within(day)):
            if line.message is not None:
                messages.append(line.message)
            position = Position(day, line.end)
            if len(messages) == limit:
                return messages, position
    return messages, position


def unsent_bytes(data_dir: Path) -> int:
    """Say how much of the trail the server has not got."""
    position = Position.read(data_dir) or Position(date.min, 0)
    return sum(file.stat().st_size - position.within(day_of(file)) for file in _not_before(position, data_dir))


def _not_before(position: Position, data_dir: Path) -> list[Path]:
    return [file for file in days(data_dir) if day_of(file) >= position.day]


def as_syslog(message: str) -> bytes:
    """Write a message as RFC 5424 says; time, host and process are those of the event."""
    root = fromstring(message)  # noqa: S314 - of what only we write  # nosec B314
    event, node = root.find("EventIdentification"), root.find("AuditSourceIdentification")
    outcome = event.get("EventOutcomeIndicator", "0") if event is not None else "0"
    time = event.get("EventDateTime", "-") if event is not None else "-"
    application, _, host = (node.get("AuditSourceID", "") if node is not None else "").partition("@")
    header = f"<{_SECURITY * 8 + _SEVERITIES[outcome]}>1 {time} {_field(host, 255)} {_field(application, 48)} - "
    return f"{header}{MESSAGE_ID} - ".encode("ascii") + _BOM + message.encode()


def _field(text: str, most: int) -> str:
    """Make a header field: printable ASCII without blanks (RFC 5424 6)."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text[:most]) or "-"


def frame(message: bytes) -> bytes:
    """Put the length before a message (RFC 5425 4.3)."""
    return b"%d %s" % (len(message), message)


def client_context(settings: Syslog) -> ssl.SSLContext:
    """Build our side of TLS; the server's certificate and name are always checked.

    :raises ConfigError: a file cannot be used.
    """
    try:
        context = harden(ssl.create_default_context(cafile=settings.ca))
        if settings.cert is not None:
            context.load_cert_chain(settings.cert, settings.key)
    except OSError as error:
        raise ConfigError(f"audit.syslog: certificate, key or ca cannot be used: {error}") from error
    return context


def remove_old(data_dir: Path, before: date, *, tell_lost: Callable[[int], None] | None) -> None:
    """Remove the days that are old enough.

    :param tell_lost: told how many messages went that the syslog server never got; None where there is none.
    """
    old = [file for file in days(data_dir) if day_of(file) < before]
    position = Position.read(data_dir) or Position(date.min, 0)
    unsent_days = set(_not_before(position, data_dir)) if tell_lost is not None else set()
    lost = sum(1 for file in old if file in unsent_days for _ in lines(file, position.within(day_of(file))))
    for file in old:
        file.unlink()
    if lost and tell_lost is not None:
        logger.error("%d messages of the audit trail were removed by age before the syslog server took them", lost)
        tell_lost(lost)
