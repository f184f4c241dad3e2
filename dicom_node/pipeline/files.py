"""Files that a person names on the command line: found in folders, sorted into studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.errors import BadInput


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """The files of one study, and what it is called."""

    title: str
    study_instance_uid: str
    files: tuple[Path, ...]


def expand(paths: Iterable[Path]) -> list[Path]:
    """List files, those inside folders included, in the order of their names; hidden files and DICOMDIRs are left out.

    :raises BadInput: when a path does not exist, or nothing is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.is_file())
            found.extend(sorted(p for p in inside if not p.name.startswith(".") and p.name != "DICOMDIR"))
        elif path.is_file():
            found.append(path)
        else:
            raise BadInput(f"{path} does not exist")
    if not found:
        raise BadInput("no files were found")
    return found


def sort_into_studies(paths: Iterable[Path]) -> tuple[list[StudyFiles], list[Path]]:
    """Group files by Study Instance UID; the second list is of files that are no DICOM instances of any study."""
    studies: dict[str, list[Path]] = {}
    titles: dict[str, str] = {}
    strangers: list[Path] = []
    for path in paths:
        header = _identity(path)
        uid = str(header.get("StudyInstanceUID", "")) if header is not None else ""
        if header is None or not uid:
            strangers.append(path)
            continue
        studies.setdefault(uid, []).append(path)
        titles.setdefault(uid, str(header.get("StudyDescription", "") or "") or path.parent.name or "study")
    return [StudyFiles(titles[uid], uid, tuple(files)) for uid, files in studies.items()], strangers


def sop_instance_uid_of(path: Path) -> str:
    """Name the instance in a file, or the file when it does not say."""
    header = _identity(path)
    return str(header.get("SOPInstanceUID", "")) or path.name if header is not None else path.name


def captures_among(paths: Sequence[Path]) -> list[Path]:
    """Choose the secondary captures: those can be shown as pictures."""
    chosen = []
    for path in paths:
        header = _identity(path)
        if header is not None and str(header.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.7"):
            chosen.append(path)
    return chosen


def _identity(path: Path) -> Dataset | None:
    keywords = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "StudyDescription"]
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    except (InvalidDicomError, OSError, ValueError, AttributeError, KeyError, NotImplementedError):
        return None
