"""The walk without a network: DICOM files in; reports, captures and pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from dicom_node.config import Config
from dicom_node.domain.result import NotAnalysed, ResultObject, StudyAnalysis
from dicom_node.domain.summary import summarise
from dicom_node.imaging.frames import one_frame
from dicom_node.pipeline.analysis import node_identity
from dicom_node.pipeline.examination import Examiner, StoredInstance, frame_reader, render_frames
from dicom_node.pipeline.files import StudyFiles, captures_among, expand, sop_instance_uid_of, sort_into_studies
from dicom_node.profile import Profile
from dicom_node.results.build import EVERYWHERE_READ, build_objects


@dataclass(frozen=True, slots=True)
class OfflineAnswer:
    """What was found in one study and where its objects lie."""

    study_instance_uid: str
    summary: list[dict[str, Any]]
    written: tuple[tuple[str, Path], ...]  #: (kind, file)
    quarantined: tuple[tuple[str, str], ...]  #: (kind, why the gate held it back)
    files: Mapping[str, str] = field(default_factory=dict)  #: SOP Instance UID -> name of the file that was read

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


def analyse_files(
    paths: Sequence[Path],
    out: Path,
    examiner: Examiner,
    config: Config,
    now: datetime,
    *,
    profile: Profile = EVERYWHERE_READ,
) -> list[OfflineAnswer]:
    """Analyse files study by study and write each study's objects into a folder of its own under ``out``.

    :param profile: which objects, and in which form.
    :raises BadInput: when there are no files.
    """
    studies, strangers = sort_into_studies(expand(paths))
    answers = [_answer(study, out, examiner, config, now, profile=profile) for study in studies]
    if strangers:
        unread = [NotAnalysed(it.path.name, it.reason) for it in strangers]
        answers.append(OfflineAnswer("", summarise([], unread), (), ()))
    return answers


def _answer(
    study: StudyFiles, out: Path, examiner: Examiner, config: Config, now: datetime, *, profile: Profile
) -> OfflineAnswer:
    instances = [StoredInstance(sop_instance_uid_of(path), path) for path in study.files]
    examination = examiner.examine(instances, config.analysis.max_frames_per_cine)
    analysis = StudyAnalysis(
        study.study_instance_uid,
        1,
        now,
        examination.findings,
        examination.not_analysed,
        examiner.algorithms,
        examination.sampling,
        examination.scanner_report,
    )
    built = build_objects(
        analysis,
        examination.headers,
        render_frames(examination.key_frames),
        node_identity(config),
        profile=profile,
        read_frames=frame_reader(examination.key_frames),
    )
    folder = out / study.study_instance_uid
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, item in enumerate((item for item in built if isinstance(item, ResultObject)), start=1):
        target = folder / f"{number:02d}_{item.kind}.dcm"
        target.write_bytes(item.part10)
        written.append((item.kind, target))
    written.extend(("preview", picture) for picture in write_previews([file for _, file in written], folder))
    quarantined = tuple((item.kind, item.reason) for item in built if not isinstance(item, ResultObject))
    summary = summarise(analysis.findings, analysis.not_analysed, analysis.scanner_report)
    files = {stored.sop_instance_uid: stored.path.name for stored in instances}
    return OfflineAnswer(study.study_instance_uid, summary, tuple(written), quarantined, files)


def write_previews(objects: Sequence[Path], folder: Path) -> list[Path]:
    """Write every secondary capture among ``objects`` as a PNG picture of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for path in captures_among(objects):
        picture = folder / f"{path.stem}.png"
        Image.fromarray(one_frame(path, None).pixels).save(picture)
        pictures.append(picture)
    return pictures
