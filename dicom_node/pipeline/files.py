"""Files that a person names on the command line: found in folders, sorted into studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from dicom_node.errors import BadInput
from dicom_node.results.loop_guard import is_own_result


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """The files of one study, and what it is called."""

    title: str
    study_instance_uid: str
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """A file that is not looked at, and why."""

    path: Path
    reason: str


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


def sort_into_studies(paths: Iterable[Path]) -> tuple[list[StudyFiles], list[Stranger]]:
    """Group files by Study Instance UID; the second list is of files that belong to no study of images."""
    studies: dict[str, list[Path]] = {}
    titles: dict[str, str] = {}
    strangers: list[Stranger] = []
    for path in paths:
        header = _identity(path)
        if header is None or not header.study_instance_uid:
            strangers.append(Stranger(path, "the file is not a DICOM instance of a study"))
            continue
        if header.is_own_result:  # a study comes back from the PACS with all that was said of it
            strangers.append(Stranger(path, "a result of this software, not taken for an image"))
            continue
        studies.setdefault(header.study_instance_uid, []).append(path)
        titles.setdefault(header.study_instance_uid, header.study_description or path.parent.name or "study")
    return [StudyFiles(titles[uid], uid, tuple(files)) for uid, files in studies.items()], strangers


def sop_instance_uid_of(path: Path) -> str:
    """Name the instance in a file, or the file when it does not say."""
    header = _identity(path)
    return (header.sop_instance_uid if header is not None else "") or path.name


def captures_among(paths: Sequence[Path]) -> list[Path]:
    """Choose the secondary captures: those can be shown as pictures."""
    chosen = []
    for path in paths:
        header = _identity(path)
        if header is not None and header.sop_class_uid.startswith("1.2.840.10008.5.1.4.1.1.7"):
            chosen.append(path)
    return chosen


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who a file says it is; what it does not say is empty."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    study_description: str
    is_own_result: bool


def _identity(path: Path) -> _Identity | None:
    names = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "StudyDescription"]
    try:
        wanted = [*names, "ManufacturerModelName", "Modality", "ImageType"]
        header = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        of_class, instance, study, description = (str(header.get(name) or "") for name in names)
        return _Identity(of_class, instance, study, description, is_own_result(header))
    except Exception:  # noqa: BLE001 - pydicom has no one error for what it cannot read
        return None
