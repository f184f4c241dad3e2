"""Received bytes on disk, durably: a part file in the spool becomes an instance file under a name of ours.

The promise (steps 1 to 4 of it here, 5 by the caller): 1 write to a part file on the same volume, 2 rename, 3 flush its
data to the disk, 4 flush the folder, 5 commit the row. A crash before 5 leaves a file without a row, which nobody was
told about; the janitor removes it. No name ever comes from the network.

The disk begins with step 3 when :meth:`PartFile.finish` says so, and is waited for in :meth:`Spool.flush`; in between
the caller looks at the data set and writes its row, uncommitted. That saves most of the wait of a lone sender.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import shutil
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from dicom_node.errors import SpoolFull
from dicom_node.store.part10 import data_set_offset

INSTANCES = "instances"
SPOOL = "spool"
_READ_BYTES = 1024 * 1024
_META_AT_MOST = 1024
_LOOK_FOR_ROOM_EVERY = 16 * 1024 * 1024  # bytes of one instance, which may be larger than all that is free
_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file under its final name.

    :ivar path: relative to the data folder, as the row keeps it.
    :ivar sha256: of the encoded data set, without file meta.
    :ivar size_bytes: of the encoded data set.
    """

    path: str
    sha256: str
    size_bytes: int


class Spool:
    """The files of one receiver. ``receiver`` names its folder of part files; no two live receivers share one."""

    def __init__(
        self,
        data_dir: Path,
        receiver: str,
        *,
        min_free_bytes: Callable[[], int],
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._parts = data_dir / SPOOL / receiver
        self._instances = data_dir / INSTANCES
        self._min_free_bytes = min_free_bytes
        self._free_bytes = free_bytes or _free_bytes
        self._folders: set[str] = set()
        self._parts.mkdir(parents=True, exist_ok=True)
        self._instances.mkdir(parents=True, exist_ok=True)
        flush_folder(data_dir)
        for orphan in self._parts.iterdir():  # of the process that had this name before us and died
            orphan.unlink()

    def begin(self, meta: bytes, now: datetime) -> PartFile:
        """Open a part file that begins with its file meta.

        :raises SpoolFull: when less is free than the configuration demands.
        """
        self._check_room()
        folder = now.astimezone(UTC).strftime("%Y-%m-%d")
        if folder not in self._folders:
            (self._instances / folder).mkdir(exist_ok=True)
            flush_folder(self._instances)
            self._folders.add(folder)
        name = uuid.uuid4().hex
        return PartFile(self._parts / name, self._instances / folder / f"{name}.dcm", meta, self._check_room)

    def _check_room(self) -> None:
        missing = self._min_free_bytes() - self._free_bytes(self.data_dir)
        if missing > 0:
            raise SpoolFull(f"the disk is full: {missing / 1e9:.1f} GB less is free than retention.min_free_gb demands")

    def flush(self, finished: Sequence[PartFile]) -> None:
        """Return when the data and the names of these files are on the disk; each folder is flushed once.

        :raises SpoolFull: when the volume has no room.
        """
        for part in finished:
            part.flush()
        for folder in {part.folder for part in finished}:
            flush_folder(folder)

    def remove(self, file: StoredFile) -> None:
        """Remove a file that no row speaks of."""
        (self.data_dir / file.path).unlink(missing_ok=True)


class PartFile:
    """One data set on its way to the disk. Leaving the block before :meth:`finish` removes it.

    :ivar folder: where it goes.
    :ivar size_bytes: of the encoded data set so far.
    """

    def __init__(self, part: Path, final: Path, meta: bytes, check_room: Callable[[], None]) -> None:
        self._part = part
        self._final = final
        self._descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640)
        self._digest = hashlib.sha256()
        self._finished = self._flushed = False
        self._lost: SpoolFull | OSError | None = None
        self._check_room = check_room
        self._look_for_room_at = _LOOK_FOR_ROOM_EVERY
        self.folder = final.parent
        self.size_bytes = 0
        try:
            self._write(meta)
        except BaseException:  # nobody has this file yet who could leave its block
            self._leave()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        os.close(self._descriptor)
        if not self._finished:
            with contextlib.suppress(OSError):
                self._part.unlink()

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece of the encoded data set.

        :raises SpoolFull: when the volume has no room, or less than the configuration demands.
        """
        if self.size_bytes > self._look_for_room_at:
            self._check_room()
            self._look_for_room_at += _LOOK_FOR_ROOM_EVERY
        self._write(piece)
        self._digest.update(piece)
        self.size_bytes += len(piece)

    @contextlib.contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """Look at the whole encoded data set, without holding it in memory."""
        with (
            mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
            whole[len(whole) - self.size_bytes :] as data_set,
        ):
            yield data_set

    def finish(self) -> StoredFile:
        """Give the file its final name and have the disk begin with its data."""
        # Renamed first, so that a journalling file system flushes data and name in one go. A crash in between leaves an
        # unfinished file under a final name, but no row speaks of it yet.
        os.rename(self._part, self._final)  # noqa: PTH104 - on the path of every image
        self._part = self._final
        self._finished = True
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # on Linux: start writing, do not wait
        path = f"{INSTANCES}/{self.folder.name}/{self._final.name}"
        return StoredFile(path, self._digest.hexdigest(), self.size_bytes)

    def flush(self) -> None:
        """Return when the data is on the disk; again, at once. After a failure the file goes on leaving the block.

        A failure is for ever: the kernel tells of lost data once, and would call the next flush a success.

        :raises SpoolFull: when the volume has no room.
        """
        if self._lost is not None:
            raise self._lost
        if self._flushed:
            return
        try:
            with full_disk_told():
                os.fdatasync(self._descriptor)
        except (SpoolFull, OSError) as error:
            self._lost, self._finished = error, False
            raise
        self._flushed = True

    def _write(self, piece: bytes | memoryview) -> None:
        with full_disk_told():
            written = os.write(self._descriptor, piece)
            while written < len(piece):
                written += os.write(self._descriptor, piece[written:])


def is_intact(data_dir: Path, path: str, sha256: str) -> bool:
    """Read an instance back from the disk and compare its digest."""
    digest = hashlib.sha256()
    try:
        with (data_dir / path).open("rb") as file:
            file.seek(data_set_offset(file.read(_META_AT_MOST)))
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except (OSError, struct.error):
        return False
    return digest.hexdigest() == sha256


def remove_unknown(data_dir: Path, known: Callable[[str], bool], *, older_than: timedelta, now: datetime) -> int:
    """Remove instance files that no row speaks of; gives how many.

    :param known: whether a row has this path (relative to ``data_dir``).
    :param older_than: younger ones may just be on their way to their row.
    """
    removed = 0
    for file in (data_dir / INSTANCES).glob("*/*.dcm"):
        young = now.timestamp() - file.stat().st_mtime < older_than.total_seconds()
        if not young and not known(file.relative_to(data_dir).as_posix()):
            file.unlink()
            removed += 1
    return removed


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def full_disk_told() -> Iterator[None]:
    """Name a full disk as what it is.

    :raises SpoolFull: when the volume has no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise SpoolFull(f"the disk is full: {error.strerror}") from error
        raise
