"""The outcome of analysing one study: the record between ``pipeline`` and ``results``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from dicom_node.domain.finding import Finding
from dicom_node.domain.key_frames import SeenFrame
from dicom_node.domain.scanner_report import ScannerReport


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Which model made the findings of a task (TID 4019), and which structures it can detect, by name."""

    task: str
    name: str
    version: str
    weights_sha256: str
    detects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """An instance, a frame or a task that could not be looked at, and why (never a lost study)."""

    sop_instance_uid: str
    reason: str
    frame_number: int | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class CineSampling:
    """How many frames of a cine were looked at, and what each of them showed: the report tells the key frames only."""

    sop_instance_uid: str
    frames_total: int
    frames_analysed: int
    seen: tuple[SeenFrame, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class StudyAnalysis:
    """Everything the node found in one study, ready to be rendered.

    ``version`` counts the answers given for a study (1, 2, ...); ``analysed_at`` is the content date of every object.
    ``scanner_report`` is what the sonographer measured, where the scanner sent it.
    """

    study_instance_uid: str
    version: int
    analysed_at: datetime
    findings: tuple[Finding, ...]
    not_analysed: tuple[NotAnalysed, ...]
    algorithms: tuple[Algorithm, ...]
    sampling: tuple[CineSampling, ...] = field(default=())
    scanner_report: ScannerReport | None = None
    #: Names all that was answered, and when, in 64 hexadecimal digits: no other answer has the same.
    digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_cines = [it.seen for it in self.sampling]  # which a CineSampling does not show
        object.__setattr__(self, "digest", hashlib.sha256(f"{self!r} {of_cines!r}".encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class SopReference:
    """Names one SOP Instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One finished DICOM object: what it is, and its Part 10 bytes (PS3.10 section 7)."""

    kind: str  # findings_sr, biometry_sr, secondary_capture, ...
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    part10: bytes
