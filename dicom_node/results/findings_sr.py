"""The coded report: Comprehensive SR by PS3.16 TID 1500, always PRELIMINARY and UNVERIFIED.

A report is made of every study, also when nothing was found and when nothing could be analysed: it then says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.sr import MeasurementReport, ObservationContext, SubjectContext, SubjectContextFetus
from pydicom import Dataset

from dicom_node.domain.assessment import assess
from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding, HeatMap, NotAssessable
from dicom_node.domain.result import NotAnalysed, StudyAnalysis
from dicom_node.profile import SR_CLASSES, ObjectKind, Profile
from dicom_node.results import codes
from dicom_node.results.document import Series
from dicom_node.results.evidence import is_picture, stand_in
from dicom_node.results.groups import GroupWriter, coded, has_no_region
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.public_codes import say_in_words
from dicom_node.results.report import DISCLAIMER, Predecessor, fetus_id, new_report, observer, why_this_fetus

KIND: ObjectKind = "findings_sr"
DESCRIPTION = "AI findings, investigational, not verified"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a report is about, and what it says."""

    name: str  #: fetus or mother
    findings: tuple[Finding, ...]
    not_analysed: tuple[NotAnalysed, ...]


def subjects_of(analysis: StudyAnalysis) -> list[Subject]:
    """Part the findings by subject: the fetus always has a report, the mother where a plane shows her.

    A report has one subject (TID 1006), so a maternal cervix must not stand in the report of the fetus.
    """
    maternal = tuple(f for f in analysis.findings if _is_maternal(f))
    fetal = tuple(f for f in analysis.findings if not _is_maternal(f))
    fetus = Subject("fetus", fetal, analysis.not_analysed)
    return [fetus, Subject("mother", maternal, ())] if maternal else [fetus]


def build_report(
    subject: Subject,
    analysis: StudyAnalysis,
    headers: Sequence[Dataset],
    node: NodeIdentity,
    previous: Sequence[Predecessor] = (),
    *,
    explanations: Sequence[tuple[HeatMap, Dataset]] = (),
    profile: Profile = Profile(),  # noqa: B008 - frozen
) -> Dataset:
    """Build the report of one subject.

    :param headers: of all instances that were looked at; at least one.
    :param previous: the reports that this one replaces.
    :param explanations: heat maps with the captures that show them, by their identity.
    :raises NonConformantObject: when a finding speaks of an instance that is not among the headers.
    """
    pictures = [header for header in headers if is_picture(header)]
    images = {str(header.SOPInstanceUID): stand_in(header) for header in pictures}
    explanations = [it for it in explanations if it[0] in subject.findings]
    writer = GroupWriter(
        node,
        images,
        {algorithm.task: algorithm for algorithm in analysis.algorithms},
        explanations,
        analysis.scanner_report,
    )
    groups = [
        writer.summary(outcome_of(subject), _comments(subject, analysis), analysis.study_instance_uid + subject.name),
        *writer.of_findings(subject.findings),
        *(writer.not_analysed(items) for items in _by_reason(subject.not_analysed)),
    ]
    groups.sort(key=has_no_region)
    content = MeasurementReport(
        observation_context=_observation_context(subject, analysis, node),
        procedure_reported=coded(codes.IMAGING_PROCEDURE),
        imaging_measurements=groups,
        referenced_images=list(images.values()) or None,
    )[0]
    if not profile.private_codes:
        say_in_words(content)
    captures = [capture for _, capture in explanations]
    part = "" if subject.name == "fetus" else subject.name
    series = Series.of(profile, KIND, SR_CLASSES[profile.sr_class], "SR", DESCRIPTION, part=part)
    ds = new_report(
        series, content, analysis, headers, node, about=subject.name, previous=previous, also_in_evidence=captures
    )
    ds.InstanceNumber = 1 if subject.name == "fetus" else 2
    return ds


def outcome_of(subject: Subject) -> Concept:
    """Say how the run went as a whole (CID 6047)."""
    answers = [finding for finding in subject.findings if not isinstance(finding, NotAssessable)]
    if not subject.not_analysed:
        return codes.ALL_SUCCEEDED_WITH_FINDINGS if answers else codes.ALL_SUCCEEDED_WITHOUT_FINDINGS
    if answers:
        return codes.SOME_FAILED_WITH_FINDINGS
    return codes.SOME_FAILED_WITHOUT_FINDINGS if subject.findings else codes.NONE_SUCCEEDED


def _is_maternal(finding: Finding) -> bool:
    return isinstance(finding, Classification) and finding.value in codes.MATERNAL


def _comments(subject: Subject, analysis: StudyAnalysis) -> list[str]:
    comments = [DISCLAIMER]
    if subject.name == "fetus":
        comments.append(why_this_fetus(analysis.scanner_report))
        left_out = assess(subject.findings, analysis.scanner_report).left_out
        comments.extend(f"{name} is not in the biometry report: {reason}" for name, reason in left_out.items())
    comments.extend(
        f"{s.frames_analysed} of {s.frames_total} frames of instance {s.sop_instance_uid} were analysed."
        for s in analysis.sampling
    )
    return comments


def _by_reason(items: Sequence[NotAnalysed]) -> list[list[NotAnalysed]]:
    """Put together what differs only in the frame number, so that a bad cine is one entry, not hundreds."""
    together: dict[tuple[str, str, str | None, bool], list[NotAnalysed]] = {}
    for item in items:
        key = (item.sop_instance_uid, item.reason, item.task, item.frame_number is None)
        together.setdefault(key, []).append(item)
    return list(together.values())


def _observation_context(subject: Subject, analysis: StudyAnalysis, node: NodeIdentity) -> ObservationContext:
    """Name the observer, and the fetus (TID 1008); a report without subject is of the patient."""
    if subject.name != "fetus":
        return ObservationContext(observer_device_context=observer(node))
    fetus = SubjectContextFetus(fetus_id(analysis.scanner_report))
    return ObservationContext(
        observer_device_context=observer(node), subject_context=SubjectContext(coded(codes.FETUS), fetus)
    )
