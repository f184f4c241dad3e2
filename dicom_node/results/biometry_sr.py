"""The obstetric report: sizes in millimetres and what follows from them, by PS3.16 TID 5000, as scanners send it.

What of our findings goes where; how the template looks is in :mod:`dicom_node.results.obgyn_templates`. Sizes in pixels
and frames that disagree stay in the report of findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    CoordinatesForMeasurement,
    DateContentItem,
    GraphicTypeValues,
    Measurement,
    MeasurementProperties,
    NumContentItem,
    ObservationContext,
    RelationshipTypeValues,
    SourceImageForRegion,
    SubjectContextFetus,
)
from pydicom import Dataset

from dicom_node.domain import finding as found
from dicom_node.domain.assessment import Assessment, assess
from dicom_node.domain.biometry import (
    GESTATIONAL_AGE,
    Derivation,
    Derived,
    NotDerived,
    Size,
    weeks_and_days,
)
from dicom_node.domain.concept import Concept
from dicom_node.domain.result import StudyAnalysis
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.errors import NonConformantObject
from dicom_node.profile import SR_CLASSES, ObjectKind, Profile
from dicom_node.results import codes, tid_5000
from dicom_node.results import obgyn_templates as obgyn
from dicom_node.results.document import Series
from dicom_node.results.evidence import is_picture, stand_in
from dicom_node.results.groups import coded, identified
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.public_codes import say_in_words
from dicom_node.results.report import (
    DISCLAIMER,
    Predecessor,
    fetus_id,
    new_report,
    observer,
    why_this_fetus,
)

KIND: ObjectKind = "biometry_sr"
DESCRIPTION = "AI fetal biometry, investigational, not verified"
_DIGITS = {"d": 0, "g": 0, "1": 3, "{percentile}": 1}


def has_biometry(analysis: StudyAnalysis) -> bool:
    """Tell whether there is a size in millimetres that the report has a place for."""
    sizes = assess(analysis.findings, analysis.scanner_report).sizes.values()
    return any(_quantity(size) in tid_5000.BIOMETRY | tid_5000.EARLY_GESTATION for size in sizes)


def build_report(
    analysis: StudyAnalysis,
    headers: Sequence[Dataset],
    node: NodeIdentity,
    previous: Sequence[Predecessor] = (),
    *,
    profile: Profile = Profile(),  # noqa: B008 - frozen
) -> Dataset:
    """Build the report of a study that :func:`has_biometry`.

    :param headers: of all instances that were looked at.
    :param previous: the reports that this one replaces.
    :raises NonConformantObject: when a size was measured on an instance that is not among the headers.
    """
    images = {str(header.SOPInstanceUID): stand_in(header) for header in headers if is_picture(header)}
    assessment = assess(analysis.findings, analysis.scanner_report)
    writer = _Writer(assessment, analysis, images)
    biometry, early = writer.groups_of(tid_5000.BIOMETRY), writer.groups_of(tid_5000.EARLY_GESTATION)
    ratios = [writer.number(it) for it in writer.derived if it.concept in tid_5000.RATIOS]
    survey = _survey(analysis.findings)
    fetus = SubjectContextFetus(fetus_id(analysis.scanner_report))
    content = obgyn.OBGYNUltrasoundProcedureReport(
        ObservationContext(observer_device_context=observer(node)),
        images=[images[uid] for uid in writer.measured_on()],
        summary=obgyn.ProcedureSummary(
            _dates(assessment, analysis.scanner_report),
            [obgyn.FetusSummary(fetus, writer.summary(), writer.summary_comments())],
            [DISCLAIMER, why_this_fetus(analysis.scanner_report)],
        ),
        ratios=[obgyn.FetalBiometryRatioSection(fetus, ratios)] if ratios else [],
        biometry=[obgyn.FetalBiometrySection(fetus, biometry)] if biometry else [],
        anatomy_surveys=[obgyn.FetalAnatomySurveySection(fetus, survey)] if survey else [],
        early_gestation=[obgyn.EarlyGestationSection(fetus, early)] if early else [],
    )
    if not profile.private_codes:
        say_in_words(content[0])
    series = Series.of(profile, KIND, SR_CLASSES[profile.sr_class], "SR", DESCRIPTION)
    return new_report(series, content[0], analysis, headers, node, previous=previous)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the assessment of one study. ``images`` as highdicom knows them, by instance."""

    assessment: Assessment
    analysis: StudyAnalysis
    images: Mapping[str, Dataset]

    @property
    def derived(self) -> list[Derived]:
        return [it for it in self.assessment.derivations if isinstance(it, Derived)]

    def measured_on(self) -> list[str]:
        """List the instances that sizes were measured on."""
        frames = [frame for size in self.assessment.sizes.values() for frame in size.frames]
        return sorted({self._image(frame.sop_instance_uid).SOPInstanceUID for frame in frames})

    def groups_of(self, types: frozenset[Concept]) -> list[obgyn.FetalBiometryGroup]:
        """Write a group for each size whose quantity is one of these types."""
        return [self._group(size) for size in self.assessment.sizes.values() if _quantity(size) in types]

    def summary(self) -> list[NumContentItem]:
        """Write what is about the fetus as a whole: composite age, weight and its percentile, age by dates."""
        said = [it for it in self.derived if it.concept in tid_5000.FETUS_SUMMARY and it.concept != GESTATIONAL_AGE]
        by_dates = self.assessment.age
        return [self.number(it) for it in (*said, *([by_dates] if isinstance(by_dates, Derived) else []))]

    def summary_comments(self) -> list[str]:
        """Say in words what the numbers rest on, and what is missing."""
        said: list[Derivation] = [it for it in self.assessment.derivations if len(it.sizes) > 1]
        by_dates = self.assessment.age
        if isinstance(by_dates, Derived):
            about = (
                f"Percentiles are told against {weeks_and_days(by_dates.value)} by the dates in the scanner's report."
            )
        else:
            about = f"No percentiles: {by_dates.reason}."
        return [
            *(f"{it.name}: {weeks_and_days(it.value)}." for it in said if isinstance(it, Derived) and it.unit == "d"),
            about,
            *_not_given((it.name, it.reason) for it in said if isinstance(it, NotDerived)),
            *_not_given(self.assessment.left_out.items()),
        ]

    def number(self, derived: Derived) -> NumContentItem:
        """Write a number with its equation, or with the article where the equation has no code of its own."""
        equation = None if derived.equation in (None, derived.concept) else derived.equation
        digits = _DIGITS[derived.unit]
        return obgyn.calculated(
            coded(derived.concept),
            round(derived.value, digits or None),
            coded(codes.UNITS[derived.unit]),
            coded(equation) if equation else derived.source,
        )

    def _group(self, size: Size) -> obgyn.FetalBiometryGroup:
        about = [it for it in self.assessment.derivations if it.sizes == (size.name,)]
        age = next((it for it in about if isinstance(it, Derived) and it.unit == "d"), None)
        rank = next((it for it in about if isinstance(it, Derived) and it.unit == "{percentile}"), None)
        measured = [self._measured(it) for it in size.measurements]
        return obgyn.FetalBiometryGroup(
            [*measured, *([self._mean(size)] if len(measured) > 1 else [])],
            obgyn.gestational_age(round(age.value), _equation(age)) if age else None,
            obgyn.growth_percentile_rank(round(rank.value, 1), _equation(rank)) if rank else None,
            _not_given((it.name, it.reason) for it in about if isinstance(it, NotDerived)),
        )

    def _measured(self, measurement: found.Measurement) -> Measurement:
        """Write what one frame gave, with the shape that was measured."""
        frame = measurement.frame
        source = SourceImageForRegion.from_source_image(
            self._image(frame.sop_instance_uid), [frame.frame_number] if frame.frame_number else None
        )
        kind = GraphicTypeValues(measurement.graphic.kind.upper())
        points = np.asarray(measurement.graphic.points_px, dtype=np.float32)
        return Measurement(
            coded(measurement.quantity),
            round(measurement.value, 2),
            coded(codes.UNITS["mm"]),
            algorithm_id=self._algorithm(measurement),
            referenced_coordinates=[CoordinatesForMeasurement(kind, points, source)],
        )

    def _mean(self, size: Size) -> Measurement:
        """Write the mean of several frames as the one that everything follows from (TID 5008 rows 2 and 3)."""
        return Measurement(
            coded(_quantity(size)),
            round(size.value_mm, 2),
            coded(codes.UNITS["mm"]),
            derivation=coded(codes.MEAN),
            properties=MeasurementProperties(selection_status=coded(codes.MEAN_CHOSEN)),
            algorithm_id=self._algorithm(size.measurements[0]),
        )

    def _algorithm(self, measurement: found.Measurement) -> AlgorithmIdentification | None:
        return next((identified(it) for it in self.analysis.algorithms if it.task == measurement.task), None)

    def _image(self, sop_instance_uid: str) -> Dataset:
        if sop_instance_uid not in self.images:
            raise NonConformantObject(f"a size was measured on instance {sop_instance_uid}, which is not in evidence")
        return self.images[sop_instance_uid]


def _quantity(size: Size) -> Concept:
    return size.measurements[0].quantity


def _equation(derived: Derived) -> CodedConcept | str:
    return coded(derived.equation) if derived.equation else derived.source or ""


def _not_given(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Say what is missing, and why; each reason once."""
    missing: dict[str, list[str]] = {}
    for name, reason in reasons:
        missing.setdefault(reason, []).append(name)
    return [f"Not given: {', '.join(names)}: {reason}." for reason, names in missing.items()]


def _dates(assessment: Assessment, report: ScannerReport | None) -> list[DateContentItem]:
    """Repeat the date of the scanner's report that the age by dates rests on (TID 5002, CID 12003)."""
    if report is None or not isinstance(assessment.age, Derived) or report.examined_on is None:
        return []
    if report.expected_delivery is not None:
        name, day = codes.EXPECTED_DELIVERY, report.expected_delivery
    elif report.last_menstrual_period is not None:
        name, day = codes.LAST_MENSTRUAL_PERIOD, report.last_menstrual_period
    elif report.expected_delivery_by_lmp is not None:
        name, day = codes.EXPECTED_DELIVERY_BY_LMP, report.expected_delivery_by_lmp
    else:
        return []
    return [DateContentItem(coded(name), day, RelationshipTypeValues.CONTAINS)]


def _survey(findings: Sequence[found.Finding]) -> list[CodeContentItem]:
    """Assess structures (TID 5030). It knows no "borderline": that, and frames that differ, are undetermined."""
    judged: dict[Concept, list[found.Classification]] = {}
    for it in findings:
        if isinstance(it, found.Classification) and it.concept == codes.NORMALITY and it.site in tid_5000.SURVEYED:
            judged.setdefault(it.site, []).append(it)
    return [_assessed(site, judged[site]) for site in sorted(judged, key=tid_5000.SURVEYED.index)]


def _assessed(site: Concept, judgements: Sequence[found.Classification]) -> CodeContentItem:
    values = {it.value for it in judgements}
    (value,) = values if len(values) == 1 else (codes.NORMALITY_UNDETERMINED,)
    if value not in (codes.NORMAL, codes.ABNORMAL):
        value = codes.NORMALITY_UNDETERMINED
    said = [f"{it.value.meaning} ({dict(it.probabilities).get(it.value, 0.0):.0%})" for it in judgements]
    reserve = sorted({it.qualifier for it in judgements if it.qualifier})
    return obgyn.anatomy_assessment(coded(site), coded(value), "; ".join(["AI: " + ", ".join(said), *reserve]))
