"""PS3.16 TID 5000 "OB-GYN Ultrasound Procedure Report" and what it includes, in the manner of highdicom's templates.

highdicom has none of them. This module knows the templates only: nothing of who measured what, and no policy. Optional
rows that are left out here can be added as content items; every template but TID 5030 has a significant order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    Measurement,
    NumContentItem,
    ObservationContext,
    RelationshipTypeValues,
    SubjectContextFetus,
    TextContentItem,
)
from highdicom.sr.templates import Template
from pydicom import Dataset
from pydicom.sr.codedict import codes

_CONTAINS = RelationshipTypeValues.CONTAINS
_DAYS = CodedConcept("d", "UCUM", "days")
_PERCENT = CodedConcept("%", "UCUM", "Percent")
_FETAL_ANATOMY_SURVEY = CodedConcept("131370", "DCM", "Fetal Anatomy Survey")  # since 2025
_SOURCE = CodedConcept("260753009", "SCT", "Source")


def calculated(
    name: CodedConcept, value: float, unit: CodedConcept, equation: CodedConcept | str | None = None
) -> NumContentItem:
    """Give a computed number (TID 300) with its equation or table (TID 315).

    :param equation: a code of PS3.16 CID 12013 to 12016, or the citation of an equation that has no code.
    """
    item = NumContentItem(name, value, unit, relationship_type=_CONTAINS)
    inferred = RelationshipTypeValues.INFERRED_FROM
    if isinstance(equation, str):
        item.ContentSequence = ContentSequence([TextContentItem(codes.DCM.EquationCitation, equation, inferred)])
    elif equation is not None:
        item.ContentSequence = ContentSequence([CodeContentItem(codes.DCM.Equation, equation, inferred)])
    return item


def gestational_age(days: float, equation: CodedConcept | str) -> NumContentItem:
    """Give the age that one biometric value stands for (TID 5008 rows 3 and 4)."""
    return calculated(CodedConcept("18185-9", "LN", "Gestational Age"), days, _DAYS, equation)


def growth_percentile_rank(percent: float, table: CodedConcept | str) -> NumContentItem:
    """Give the rank of a biometric value in a distribution (TID 5008 rows 7 and 8)."""
    return calculated(codes.DCM.GrowthPercentileRank, percent, _PERCENT, table)


def comment(text: str, relationship_type: RelationshipTypeValues = _CONTAINS) -> TextContentItem:
    """Give a free text."""
    return TextContentItem(codes.DCM.Comment, text, relationship_type)


def anatomy_assessment(structure: CodedConcept, assessment: CodedConcept, text: str | None = None) -> CodeContentItem:
    """Assess one structure (TID 5030 rows 5 and 7).

    :param structure: of CID 12040.
    :param assessment: of CID 242: normal, abnormal, or normality undetermined.
    :param text: why.
    """
    item = CodeContentItem(structure, assessment, _CONTAINS)
    if text:
        item.ContentSequence = ContentSequence([comment(text, RelationshipTypeValues.HAS_PROPERTIES)])
    return item


class _Section(Template):
    """A container and what it holds."""

    def __init__(self, name: CodedConcept, content: Iterable[ContentItem]) -> None:
        super().__init__()
        container = ContainerContentItem(name=name, relationship_type=_CONTAINS)
        container.ContentSequence = ContentSequence(list(content))
        self.append(container)


class FetalBiometryGroup(_Section):
    """TID 5008: everything about one type of measurement of one fetus.

    Of several measurements one has to be marked as selected, or as their mean; age and rank are about that one.
    """

    def __init__(
        self,
        measurements: Sequence[Measurement],
        age: NumContentItem | None = None,
        rank: NumContentItem | None = None,
        comments: Sequence[str] = (),
    ) -> None:
        names = {(item.name.value, item.name.scheme_designator) for one in measurements for item in one}
        if len(names) != 1:
            raise ValueError("a biometry group holds measurements of one type")
        items = [item for one in measurements for item in one]
        items += [number for number in (age, rank) if number is not None]
        super().__init__(codes.DCM.BiometryGroup, [*items, *map(comment, comments)])


class FetusSummary(_Section):
    """TID 5003: numbers of CID 12019 about one fetus."""

    def __init__(
        self, fetus: SubjectContextFetus, numbers: Sequence[NumContentItem], comments: Sequence[str] = ()
    ) -> None:
        super().__init__(codes.DCM.FetusSummary, [*fetus, *numbers, *map(comment, comments)])


class ProcedureSummary(_Section):
    """TID 5002: dates of CID 12003, and a summary of each fetus."""

    def __init__(
        self, dates: Sequence[DateContentItem], fetuses: Sequence[FetusSummary], comments: Sequence[str] = ()
    ) -> None:
        of_fetuses = [item for fetus in fetuses for item in fetus]
        super().__init__(codes.DCM.Summary, [*dates, *map(comment, comments), *of_fetuses])


class FetalBiometryRatioSection(_Section):
    """TID 5004: ratios of CID 12004."""

    def __init__(self, fetus: SubjectContextFetus, ratios: Sequence[NumContentItem]) -> None:
        super().__init__(codes.DCM.FetalBiometryRatios, [*fetus, *ratios])


class FetalBiometrySection(_Section):
    """TID 5005: biometry groups with measurements of CID 12005."""

    def __init__(self, fetus: SubjectContextFetus, groups: Sequence[FetalBiometryGroup]) -> None:
        super().__init__(codes.DCM.FetalBiometry, [*fetus, *(item for group in groups for item in group)])


class FetalAnatomySurveySection(_Section):
    """TID 5030: one assessment for each structure."""

    def __init__(self, fetus: SubjectContextFetus, assessments: Sequence[CodeContentItem]) -> None:
        super().__init__(_FETAL_ANATOMY_SURVEY, [*fetus, *assessments])


class EarlyGestationSection(_Section):
    """TID 5011: biometry groups with measurements of CID 12009."""

    def __init__(self, fetus: SubjectContextFetus, groups: Sequence[FetalBiometryGroup]) -> None:
        super().__init__(codes.DCM.EarlyGestation, [*fetus, *(item for group in groups for item in group)])


class OBGYNUltrasoundProcedureReport(Template):
    """TID 5000, the root. Sections may repeat for several fetuses."""

    def __init__(
        self,
        observation_context: ObservationContext,
        *,
        images: Sequence[Dataset] = (),
        summary: ProcedureSummary | None = None,
        ratios: Sequence[FetalBiometryRatioSection] = (),
        biometry: Sequence[FetalBiometrySection] = (),
        anatomy_surveys: Sequence[FetalAnatomySurveySection] = (),
        early_gestation: Sequence[EarlyGestationSection] = (),
        language: LanguageOfContentItemAndDescendants | None = None,
    ) -> None:
        super().__init__(is_root=True)
        root = ContainerContentItem(name=codes.DCM.OBGYNUltrasoundProcedureReport, template_id="5000")
        root.ContentSequence = ContentSequence()
        if language is None:
            language = LanguageOfContentItemAndDescendants(
                CodedConcept("en-US", "RFC5646", "English (United States)")  # as in highdicom's TID 1500
            )
        root.ContentSequence.extend(language)
        root.ContentSequence.extend(observation_context)
        library = [_image(image) for image in images]
        if library:
            root.ContentSequence.extend(_Section(codes.DCM.ImageLibrary, library))
        for section in (*([summary] if summary else []), *ratios, *biometry, *anatomy_surveys, *early_gestation):
            root.ContentSequence.extend(section)
        self.append(root)


def _image(image: Dataset) -> ImageContentItem:
    return ImageContentItem(_SOURCE, image.SOPClassUID, image.SOPInstanceUID, relationship_type=_CONTAINS)
