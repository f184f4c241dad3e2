"""The files of the objects that the node made: on the disk before a row speaks of them, and never changed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from dicom_node.store.spool import flush_folder, full_disk_told

FOLDER = "results"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file under ``data_dir``."""

    path: str  #: relative to data_dir
    sha256: str


def write_result(data_dir: Path, study_instance_uid: str, version: int, part10: bytes) -> StoredFile:
    """Put one object on the disk, synchronised with its folder, under a name made from its bytes.

    Writing the same bytes again changes nothing; other bytes get another name, so that two analyses that race for the
    same version cannot disturb each other's files.
    """
    sha256 = hashlib.sha256(part10).hexdigest()
    study = hashlib.sha256(study_instance_uid.encode()).hexdigest()[:16]
    file = data_dir / FOLDER / study / str(version) / f"{sha256[:32]}.dcm"
    stored = StoredFile(str(file.relative_to(data_dir)), sha256)
    if file.exists() and fault(data_dir, stored.path, sha256) is None:
        os.utime(file)  # its row may be about to be written: retention removes only old files without one
        return stored
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with full_disk_told():
        _make_folder(file.parent)
        try:
            with part.open("wb") as stream:
                stream.write(part10)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            part.unlink(missing_ok=True)
            raise
        part.replace(file)
        flush_folder(file.parent)
    return stored


def fault(data_dir: Path, path: str, sha256: str) -> str | None:
    """Say what is wrong with a stored file, None when it is whole."""
    digest = hashlib.sha256()
    try:
        with (data_dir / path).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        return f"the stored file cannot be read: {error.strerror}"
    return None if digest.hexdigest() == sha256 else "the stored file is damaged: its digest has changed"


def _make_folder(folder: Path) -> None:
    """Make a folder that survives a power cut: every new one is written into its parent."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)
