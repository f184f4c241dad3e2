"""From a closed generation to its stored answer: examine, build, write, then one transaction.

A crash anywhere before that transaction leaves nothing behind but files under names made from their bytes; the next
attempt makes the same objects again, since their UIDs and dates are derived from the study, its version and the moment
it was closed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.domain.result import NotAnalysed, ResultObject, StudyAnalysis
from dicom_node.domain.summary import summarise
from dicom_node.errors import SpoolFull
from dicom_node.pipeline.completion import analysis_failed, analysis_waits
from dicom_node.pipeline.delivery import store_answer
from dicom_node.pipeline.examination import Examination, Examiner, StoredInstance, frame_reader, render_frames
from dicom_node.pipeline.services import Services
from dicom_node.profile import ESSENTIAL, Profile
from dicom_node.results import biometry_sr, findings_sr
from dicom_node.results.build import QuarantinedObject, build_objects
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.report import Predecessor
from dicom_node.store.evidence import EvidenceInstance, evidence_of, moment_closed
from dicom_node.store.result_files import write_result
from dicom_node.store.results import Answer, AnswerObject, Claim, claim_analysis, newest_ready
from dicom_node.store.spool import is_intact

logger = logging.getLogger(__name__)


def analyse_study(
    services: Services, examiner: Examiner, study_instance_uid: str, generation: int, attempt: int
) -> None:
    """Job: answer one closed generation; nothing happens when it is answered, covered, cancelled or has a newer job."""
    with services.database.write() as session:
        claim = claim_analysis(session, study_instance_uid, generation, attempt)
    if claim is None:
        return
    config = services.config()  # of one moment: who is to receive the answer must not change while it is written
    with services.database.read() as session:
        instances = evidence_of(session, study_instance_uid, generation)
        closed = moment_closed(session, study_instance_uid, generation)
        previous = {it.mark: _predecessors(session, study_instance_uid, config, it) for it in config.profiles}
    started_at = services.now()
    try:
        examination = _examine(services, examiner, instances)
        analysis = _analysis_of(claim, closed, examination, examiner)
        objects = _build(services, config, analysis, examination, previous)
    except SpoolFull as full:
        analysis_waits(services, study_instance_uid, generation, attempt, full)
        return
    except Exception as error:
        logger.exception("analysis of study %s failed", study_instance_uid, extra={"action": "analysis_failed"})
        analysis_failed(services, study_instance_uid, generation, attempt, error)
        return
    answer = Answer(
        study_instance_uid,
        generation,
        claim.version,
        started_at,
        {a.task: {"version": a.version, "weights_sha256": a.weights_sha256} for a in analysis.algorithms},
        summarise(analysis.findings, analysis.not_analysed, analysis.scanner_report),
        objects,
        config.destinations,
    )
    try:
        stored = store_answer(services, answer)
    except SpoolFull as full:
        analysis_waits(services, study_instance_uid, generation, attempt, full)
        return
    if stored:
        logger.info("study %s answered: version %d, %d objects", study_instance_uid, claim.version, len(objects))


def node_identity(config: Config) -> NodeIdentity:
    """Say who the author of results is."""
    return NodeIdentity(config.node.ae_title, config.node.institution, config.node.uid_root)


def _examine(services: Services, examiner: Examiner, instances: Sequence[EvidenceInstance]) -> Examination:
    """Look at every whole instance; the others are named with their reason."""
    good: list[StoredInstance] = []
    set_aside: list[NotAnalysed] = []
    for instance in instances:
        reason = instance.set_aside
        if reason is None and not is_intact(services.data_dir, instance.path, instance.sha256):
            reason = "the stored file is missing or damaged: its digest has changed"
            logger.error("instance %s: %s", instance.sop_instance_uid, reason)
        if reason:
            set_aside.append(NotAnalysed(instance.sop_instance_uid, reason))
        else:
            good.append(StoredInstance(instance.sop_instance_uid, services.data_dir / instance.path))
    examination = examiner.examine(good, services.config().analysis.max_frames_per_cine)
    return examination.with_set_aside(set_aside)


def _analysis_of(claim: Claim, closed: datetime, examination: Examination, examiner: Examiner) -> StudyAnalysis:
    return StudyAnalysis(
        study_instance_uid=claim.study_instance_uid,
        version=claim.version,
        analysed_at=closed,
        findings=examination.findings,
        not_analysed=examination.not_analysed,
        algorithms=examiner.algorithms,
        sampling=examination.sampling,
        scanner_report=examination.scanner_report,
    )


def _build(
    services: Services,
    config: Config,
    analysis: StudyAnalysis,
    examination: Examination,
    previous: Mapping[str, Sequence[Predecessor]],
) -> list[AnswerObject]:
    """Build every object, once for each profile, and put it on the disk before any row speaks of it."""
    key_frames = render_frames(examination.key_frames)
    return [
        _keep(services, analysis, profile, item)
        for profile in config.profiles
        for item in build_objects(
            analysis,
            examination.headers,
            key_frames,
            node_identity(config),
            previous[profile.mark],
            profile=profile,
            read_frames=frame_reader(examination.key_frames),
        )
    ]


def _keep(
    services: Services, analysis: StudyAnalysis, profile: Profile, item: ResultObject | QuarantinedObject
) -> AnswerObject:
    """Write one object down, sound or not; one that could not even be built is an empty file."""
    reason = item.reason if isinstance(item, QuarantinedObject) else None
    if reason:
        logger.log(
            logging.ERROR if item.kind in ESSENTIAL else logging.WARNING,
            "study %s: a %s failed the conformance gate and is not sent: %s",
            analysis.study_instance_uid,
            item.kind,
            reason,
        )
    stored = write_result(services.data_dir, analysis.study_instance_uid, analysis.version, item.part10)
    return AnswerObject(
        item.kind,
        item.sop_class_uid,
        item.sop_instance_uid,
        item.series_instance_uid,
        stored.path,
        stored.sha256,
        profile.mark,
        reason,
    )


def _predecessors(session: Session, study_instance_uid: str, config: Config, profile: Profile) -> list[Predecessor]:
    """List the reports that the new answer replaces at the destinations of a profile: the last that could be sent."""
    readers = [destination.name for destination in config.destinations if destination.profile == profile]
    return [
        Predecessor(row.sop_class_uid, row.sop_instance_uid, row.series_instance_uid, kind)
        for kind in (findings_sr.KIND, biometry_sr.KIND)
        for row in newest_ready(session, study_instance_uid, kind, profile.mark, readers)
    ]
