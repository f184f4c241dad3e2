"""Findings as measurement groups of a report (PS3.16 TID 1410 and TID 1501)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContentSequence,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset

from dicom_node.domain import finding as found
from dicom_node.domain.biometry import MEASURED_OTHERWISE
from dicom_node.domain.concept import Concept
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.result import Algorithm, NotAnalysed
from dicom_node.domain.scanner_report import Difference, ScannerReport, differences
from dicom_node.errors import NonConformantObject
from dicom_node.results import codes
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.render import outline
from dicom_node.results.suspicion import asks_for_normality, normality_of
from dicom_node.results.tracking import tracking_uid, where_of

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations
_ClassesOfBoxes = Mapping[found.Detection, Sequence[found.Classification]]


@dataclass(slots=True)
class GroupWriter:
    """Writes groups about the images of one study.

    :ivar images: the images as highdicom knows them (:func:`~dicom_node.results.evidence.stand_in`), by instance.
    :ivar algorithms: who made the findings, by task.
    :ivar explanations: heat maps with the captures that show them.
    :ivar scanner_report: what measurements are compared with.
    """

    node: NodeIdentity
    images: Mapping[str, Dataset]
    algorithms: Mapping[str, Algorithm]
    explanations: Sequence[tuple[found.HeatMap, Dataset]] = ()
    scanner_report: ScannerReport | None = None
    _seen: Counter[str] = field(default_factory=Counter)

    def of_findings(self, findings: Sequence[found.Finding]) -> list[Group]:
        """Write findings as groups. A box's classes stand in the group of the box; heat maps explain a class in its."""
        of_boxes = _classes_of_boxes(findings)
        inside = {it for classes in of_boxes.values() for it in classes}
        groups = (self._of_finding(it, of_boxes) for it in findings if it not in inside)
        return [group for group in groups if group is not None]

    def _of_finding(self, finding: found.Finding, of_boxes: _ClassesOfBoxes) -> Group | None:
        match finding:
            case found.Detection():
                return self._detection(finding, of_boxes.get(finding, ()))
            case found.Classification():
                return self._classification(finding)
            case found.Measurement():
                return self._measurement(finding)
            case found.Segmentation():
                return self._segmentation(finding)
            case found.NotAssessable():
                return self._not_assessable(finding)
            case found.HeatMap():
                return None

    def summary(self, outcome: Concept, comments: Sequence[str], about: str) -> Group:
        """Say how the run went; a group of every report, and the only one when there is nothing else to say."""
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking("AI run", "summary", about, ""),
            qualitative_evaluations=[QualitativeEvaluation(coded(codes.RUN_SUMMARY), coded(outcome))],
        )
        return _commented(group, comments)

    def not_analysed(self, items: Sequence[NotAnalysed]) -> Group:
        """Say that one instance, or some of its frames, were not looked at. All items have one reason and task."""
        first = items[0]
        frames = [item.frame_number for item in items if item.frame_number is not None]
        what = f"frame {', '.join(map(str, frames))}" if frames else "instance"
        image = self.images.get(first.sop_instance_uid)
        sources = [_source(image, frames)] if image is not None else None
        text = f"{first.task}: {first.reason}" if first.task else first.reason
        if image is None:
            text += f" (instance {first.sop_instance_uid})"
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(
                f"not analysed: {what}", first.sop_instance_uid, f"{frames}", f"{first.task}"
            ),
            finding_type=coded(codes.NOT_ANALYSED),
            algorithm_id=self._algorithm(first.task),
            source_images=sources,
        )
        return _commented(group, [text])

    def _detection(self, finding: found.Detection, classes: Sequence[found.Classification]) -> Group:
        x0, y0, x1, y1 = finding.box_xyxy_px
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking_of(finding),
            referenced_region=self._region(finding.frame, "polyline", corners),
            finding_category=coded(codes.ANATOMICAL_STRUCTURE),
            finding_type=coded(finding.structure),
            finding_sites=[FindingSite(coded(finding.site))],
            algorithm_id=self._algorithm(finding.task),
            geometric_purpose=coded(codes.BOUNDED_BY),
            measurements=[_certainty(finding.score), *(it for of_box in classes for it in _probabilities(of_box))],
            qualitative_evaluations=[_answer(it) for it in classes] or None,
        )
        return _commented(group, [it.qualifier for it in classes if it.qualifier])

    def _segmentation(self, finding: found.Segmentation) -> Group:
        return PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking_of(finding),
            referenced_region=self._region(finding.frame, finding.contour.kind, finding.contour.points_px),
            finding_category=coded(codes.ANATOMICAL_STRUCTURE),
            finding_type=coded(finding.structure),
            finding_sites=[FindingSite(coded(finding.structure))],
            algorithm_id=self._algorithm(finding.task),
            measurements=[_certainty(finding.score)],
        )

    def _measurement(self, finding: found.Measurement) -> Group:
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking_of(finding),
            referenced_region=self._region(finding.frame, "polyline", self._line_of(finding)),
            finding_sites=[FindingSite(coded(finding.site))],
            algorithm_id=self._algorithm(finding.task),
            measurements=[
                Measurement(coded(finding.quantity), round(finding.value, 2), coded(codes.UNITS[finding.unit]))
            ],
        )
        comments = [f"no millimetres: {finding.qualifier}"] if finding.qualifier else []
        comments += [_compared(finding, it) for it in differences(finding, self.scanner_report)]
        return _commented(group, comments)

    def _classification(self, finding: found.Classification) -> Group:
        answers, numbers = [_answer(finding)], _probabilities(finding)
        if asks_for_normality(finding):  # of the whole fetus: the answer is the finding, and says if it is normal
            answers.append(QualitativeEvaluation(coded(codes.NORMALITY), coded(normality_of(finding))))
        rated = dict(finding.probabilities).get(codes.STANDARD_PLANE)
        if rated is not None:
            numbers.append(Measurement(coded(codes.IMAGE_QUALITY_RATING), round(100 * rated, 1), coded(codes.PERCENT)))
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking_of(finding),
            finding_type=coded(finding.value if asks_for_normality(finding) else finding.concept),
            finding_sites=[FindingSite(coded(finding.site))] if finding.site else None,
            algorithm_id=self._algorithm(finding.task),
            measurements=numbers,
            qualitative_evaluations=answers,
            source_images=self._sources(finding.frames),
        )
        for heat_map, capture in self.explanations:
            same = (heat_map.task, heat_map.name, heat_map.value) == (finding.task, finding.name, finding.value)
            if same and heat_map.frame in finding.frames:
                name, contains = coded(codes.VISUAL_EXPLANATION), RelationshipTypeValues.CONTAINS
                shown = ImageContentItem(name, capture.SOPClassUID, capture.SOPInstanceUID, relationship_type=contains)
                group[0].ContentSequence.append(shown)
        return _commented(group, [finding.qualifier] if finding.qualifier else [])

    def _not_assessable(self, finding: found.NotAssessable) -> Group:
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking_of(finding),
            finding_type=coded(codes.NOT_ASSESSABLE),
            algorithm_id=self._algorithm(finding.task),
            source_images=self._sources((finding.frame,)),
        )
        return _commented(group, [f"{finding.name.replace('_', ' ')}: {finding.reason}"])

    def _tracking_of(self, finding: found.Finding) -> TrackingIdentifier:
        return self._tracking(finding.name, where_of(finding), type(finding).__name__, finding.task)

    def _tracking(self, name: str, where: str, what: str, task: str) -> TrackingIdentifier:
        """Name a finding so that the same model on the same picture names it the same again."""
        uid = tracking_uid(self.node, self.algorithms.get(task), name, where, what, task)
        self._seen[uid] += 1
        if self._seen[uid] > 1:
            uid = self.node.uid(uid, str(self._seen[uid]))
        return TrackingIdentifier(uid=uid, identifier=name)

    def _algorithm(self, task: str | None) -> AlgorithmIdentification | None:
        """Identify the model of a task (TID 4019); None when the task never had one, as when its model is missing."""
        algorithm = self.algorithms.get(task or "")
        return None if algorithm is None else identified(algorithm)

    def _image(self, frame: FrameReference) -> Dataset:
        try:
            return self.images[frame.sop_instance_uid]
        except KeyError:
            raise NonConformantObject(
                f"a finding speaks of instance {frame.sop_instance_uid}, which is not in evidence"
            ) from None

    def _line_of(self, finding: found.Measurement) -> Sequence[Sequence[float]]:
        """Give a measured shape as a line: OHIF 3.13 draws no ellipse with oblique axes, and then not its value either.

        The biometry report keeps the ellipse. One with its ends inside the image may bulge over its edge, and follows
        that instead; one with its ends outside stays as it is, and the gate refuses it.
        """
        if finding.graphic.kind == "polyline":
            return finding.graphic.points_px
        image = self._image(finding.frame)
        line, size = outline(finding), (image.Columns, image.Rows)
        ends = np.asarray(finding.graphic.points_px)
        if (ends >= 0).all() and (ends <= size).all():
            line = np.clip(line, 0, size)
        return [*line[:-1].tolist(), line[0].tolist()]

    def _region(self, frame: FrameReference, kind: str, points_px: Sequence[Sequence[float]]) -> ImageRegion:
        """Draw a shape on a frame (SCOORD, PS3.3 C.18.6)."""
        image = self._image(frame)
        source = SourceImageForRegion.from_source_image(image, [frame.frame_number] if frame.frame_number else None)
        return ImageRegion(GraphicTypeValues(kind.upper()), np.asarray(points_px, dtype=np.float32), source)

    def _sources(self, frames: Sequence[FrameReference]) -> list[SourceImageForMeasurementGroup]:
        """Refer to frames, those of one instance together."""
        numbers: dict[str, list[int]] = {}
        for frame in frames:
            self._image(frame)
            numbers.setdefault(frame.sop_instance_uid, []).extend([frame.frame_number] if frame.frame_number else [])
        return [_source(self.images[uid], listed) for uid, listed in numbers.items()]


def _classes_of_boxes(findings: Sequence[found.Finding]) -> _ClassesOfBoxes:
    """Find the classes that are of a box in the same frame."""
    boxes: dict[tuple[str, FrameReference, str | None], found.Detection] = {
        (it.task, it.frame, it.name): it for it in findings if isinstance(it, found.Detection)
    }
    classes: dict[found.Detection, list[found.Classification]] = {}
    for it in findings:
        box = boxes.get((it.task, it.frames[0], it.detection)) if isinstance(it, found.Classification) else None
        if box is not None and isinstance(it, found.Classification):
            classes.setdefault(box, []).append(it)
    return classes


def _answer(finding: found.Classification) -> QualitativeEvaluation:
    return QualitativeEvaluation(coded(finding.concept), coded(finding.value))


def _probabilities(finding: found.Classification) -> list[Measurement]:
    """Give the probability of each class that was possible, and say of which class it is."""
    numbers = []
    for value, probability in finding.probabilities:
        number = Measurement(coded(codes.PROBABILITY), round(probability, 4), coded(codes.NO_UNITS))
        of_class = CodeContentItem(coded(codes.FINDING), coded(value), RelationshipTypeValues.HAS_CONCEPT_MOD)
        number[0].ContentSequence = ContentSequence([of_class])
        numbers.append(number)
    return numbers


def _source(image: Dataset, frame_numbers: Sequence[int]) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup.from_source_image(image, list(frame_numbers) or None)


def _certainty(score: float) -> Measurement:
    return Measurement(coded(codes.CERTAINTY), round(100 * score, 1), coded(codes.PERCENT))


def identified(algorithm: Algorithm) -> AlgorithmIdentification:
    """Identify a model (TID 4019)."""
    return AlgorithmIdentification(
        name=algorithm.name,
        version=algorithm.version,
        family=coded(codes.ARTIFICIAL_INTELLIGENCE),
        parameters=[f"task={algorithm.task}", f"weights_sha256={algorithm.weights_sha256}"],
    )


def has_no_region(group: Group) -> bool:
    """Tell whether a group speaks of no region of a picture.

    Those with a region come first in a report: viewers open it at its first group, and show nothing where that has no
    picture. The order has no meaning otherwise (TID 1500: Order Non-Significant).
    """
    return not isinstance(group, PlanarROIMeasurementsAndQualitativeEvaluations)


def coded(concept: Concept) -> CodedConcept:
    """Give a concept in highdicom's words."""
    return CodedConcept(concept.value, concept.scheme, concept.meaning)


def _commented(group: Group, comments: Sequence[str]) -> Group:
    for comment in comments:
        group[0].ContentSequence.append(TextContentItem(coded(codes.COMMENT), comment, RelationshipTypeValues.CONTAINS))
    return group


def _compared(finding: found.Measurement, difference: Difference) -> str:
    """Say how far the node is from the sonographer, whose value stands: 176.0 mm (chosen of 3 values); AI +1.5 mm."""
    manual = difference.manual
    whose = f" of fetus {manual.fetus}" if manual.fetus else ""
    how = f" ({manual.how})" if manual.how else ""
    said = f"sonographer's {finding.name}{whose}: {manual.value_mm:.1f} mm{how}; "
    said += f"AI less sonographer: {difference.difference_mm:+.1f} mm ({difference.percent:+.1f} %)"
    otherwise = MEASURED_OTHERWISE.get(finding.name)
    return f"{said}; {otherwise}" if otherwise else said
