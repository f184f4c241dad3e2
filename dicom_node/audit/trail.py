"""The trail on the disk: one file a day, only ever appended to, each line bound to the one before it by its digest.

A line is a JSON object: the message, and the SHA-256 of the whole line before it, also where that is of the day before.
Who changes or removes a line breaks the chain at the next one; who removes the newest lines is only found out by what
the syslog server has. Processes and threads take turns by a lock on the folder. A line is on the disk before
:meth:`Trail.record` returns, except for the beginning of a transfer, whose end takes it along. Should that fail, the
node goes on, and the next line that can be written says how many are missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dicom_node.audit.acts import Audit
from dicom_node.audit.message import Message, Participant, Source, as_xml

logger = logging.getLogger(__name__)

FOLDER = "audit"
FIRST = "0" * 64  #: what the first line of all is bound to
_SUFFIX = ".jsonl"
_LINE_AT_MOST = 256 * 1024
TURN_WITHIN_S = 5.0  #: a turn lasts well under a millisecond
_LOOK_EVERY_S = 0.002


class Trail:
    """Appends messages.

    :param data_dir: it must exist before anything is recorded; the trail is a folder in it.
    :param now: gives the time, aware.
    """

    def __init__(self, data_dir: Path, source: Source, node: Participant, now: Callable[[], datetime]) -> None:
        self._folder = data_dir / FOLDER
        self._source = source
        self._now = now
        self._missing = 0
        self._counting = threading.Lock()
        self._confession = Audit(node, self._append)

    def record(self, message: Message) -> None:
        """Write a message down; what cannot be written is counted, logged and told by the next that can."""
        try:
            with self._counting:
                missing, self._missing = self._missing, 0
            if missing:
                self._confess(missing)
            self._append(message)
        except OSError as error:
            with self._counting:
                self._missing += 1
            logger.error("the audit trail cannot be written: %s", error)  # noqa: TRY400 - it is no fault of the code

    def _confess(self, missing: int) -> None:
        try:
            self._confession.incomplete(f"{missing} messages could not be written")
        except OSError:
            with self._counting:
                self._missing += missing
            raise

    def _append(self, message: Message) -> None:
        with _locked(self._folder):
            now = self._now()
            file = _current(self._folder, now.astimezone(UTC).date())
            is_new = not file.exists()
            end = Tail.of(file) if not is_new else Tail.of(_newest(self._folder))
            entry = {"previous": end.digest, "message": as_xml(message, self._source, now)}
            line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
            # What a power cut or a full disk left without its end stays where it is, as a line that says nothing.
            descriptor = _open(file, b"\n" + line if end.is_torn and not is_new else line)
        try:  # the others need not wait for the disk
            if not message.can_wait:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            _flush_folder(self._folder)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file: the digest of its last line, and whether that lacks its end."""

    digest: str
    is_torn: bool = False

    @classmethod
    def of(cls, file: Path | None) -> Tail:
        """Read the end of a file; None and an empty one end as nothing does."""
        if file is None:
            return cls(FIRST)
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _LINE_AT_MOST))
            end = stream.read()
        if not end:
            return cls(FIRST)
        return cls(digest_of(end.removesuffix(b"\n").rpartition(b"\n")[2]), not end.endswith(b"\n"))


def digest_of(line: bytes) -> str:
    """Give the SHA-256 that the line after this one holds; without the newline."""
    return hashlib.sha256(line).hexdigest()


def days(data_dir: Path) -> list[Path]:
    """List the files of a trail, the oldest first."""
    return sorted((data_dir / FOLDER).glob(f"????-??-??{_SUFFIX}"))


def day_of(file: Path) -> date:
    """Say of which day (UTC) a file is."""
    return date.fromisoformat(file.name.removesuffix(_SUFFIX))


def _newest(folder: Path) -> Path | None:
    files = days(folder.parent)
    return files[-1] if files else None


def _current(folder: Path, today: date) -> Path:
    """Name the file to append to; another machine's clock may have begun the next day already."""
    tomorrow = folder / f"{today + timedelta(days=1)}{_SUFFIX}"
    return tomorrow if tomorrow.exists() else folder / f"{today}{_SUFFIX}"


def _open(file: Path, line: bytes) -> int:
    """Append to a file; gives it open, for the flush."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        _give_to_the_owner_of(file.parent.parent, descriptor)
        if os.write(descriptor, line) < len(line):
            raise OSError("the disk took only a part of a line")  # noqa: TRY301
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread appends.

    :raises OSError: one never ends, because somebody stopped it in the middle.
    """
    made = not folder.exists()
    folder.mkdir(mode=0o750, exist_ok=True)  # not its parents: without its data folder a node has nothing to tell of
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if made:
            _give_to_the_owner_of(folder.parent, descriptor)
            _flush_folder(folder.parent)
        _take_turn(descriptor)
        yield
    finally:
        os.close(descriptor)


def _take_turn(descriptor: int) -> None:
    deadline = time.monotonic() + TURN_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _give_to_the_owner_of(folder: Path, descriptor: int) -> None:
    """Give what root makes to the node, which must be able to append to it later."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
