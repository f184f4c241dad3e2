"""The obstetric report by tree walk: what stands where, with values computed by hand from the printed equations."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from datetime import date

import pydicom
import pytest
import synthetic as s
from pydicom import Dataset

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.domain.result import ResultObject
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.results import codes
from dicom_node.results.build import QuarantinedObject, build_objects
from dicom_node.results.content_tree import children, content, name_of, unit_of, value_of
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.report import Predecessor
from dicom_node.results.scanner_sr import read_scanner_report

NODE = NodeIdentity("DICOM_NODE")
STILL = s.header(Rows=120, Columns=160)
CINE = s.header(s.US_MULTI_FRAME, number=2, NumberOfFrames=4, Rows=120, Columns=160)
FRAME, THIRD = s.reference(STILL), s.reference(CINE, 3)
ON = date(2026, 1, 2)  # the study's date
BORDERLINE = Concept("111848", "DCM", "Borderline")
LEARNED = "learned from simulated changes only"


def report(findings: Sequence[Finding], **changes: object) -> Dataset:
    """Build all objects and give the only obstetric report."""
    (ds,) = reports(findings, **changes)
    return ds


def reports(findings: Sequence[Finding], previous: Sequence[Predecessor] = (), **changes: object) -> list[Dataset]:
    key_frames = {FRAME: Frame(FRAME, s.picture(), Calibration(reason="none"))}
    built = build_objects(s.analysis(findings, **changes), [STILL, CINE], key_frames, NODE, previous)
    held_back = [it for it in built if isinstance(it, QuarantinedObject)]
    assert not held_back
    return [pydicom.dcmread(io.BytesIO(it.part10)) for it in built if it.kind == "biometry_sr"]


def judged(value: Concept, probability: float, site: Concept = s.NASAL_BONE) -> Classification:
    values = ((value, probability), (Concept("0", "X", "rest"), 1 - probability))
    name, words = "nasal_bone_category", value.meaning.lower()
    return Classification("structures", (FRAME,), name, codes.NORMALITY, value, words, values, site, LEARNED)


def section(ds: Dataset, concept: Concept) -> Dataset:
    (found,) = children(ds, concept)
    return found


def fetus_summary(ds: Dataset) -> Dataset:
    return section(section(ds, codes.SUMMARY), codes.FETUS_SUMMARY)


def number(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def numbers(ds: Dataset) -> dict[str, tuple[float, str]]:
    """Give the numbers directly under an item: value and unit by code."""
    return {
        name_of(it).value: (number(it), unit_of(it).value)  # type: ignore[union-attr]
        for it in ds.ContentSequence
        if it.ValueType == "NUM"
    }


def group(ds: Dataset, quantity: str, concept: Concept = codes.BIOMETRY) -> Dataset:
    """Give the biometry group of a quantity."""
    wanted = s.QUANTITIES[quantity].value
    (found,) = [it for it in children(section(ds, concept), codes.BIOMETRY_GROUP) if wanted in numbers(it)]
    return found


def equation(ds: Dataset, code: str) -> str:
    """Give the equation of a number under an item: its code, or the citation in its place."""
    (item,) = [it for it in ds.ContentSequence if it.ValueType == "NUM" and name_of(it).value == code]  # type: ignore[union-attr]
    coded = [value_of(it).value for it in children(item, codes.EQUATION)]  # type: ignore[union-attr]
    (said,) = coded or [it.TextValue for it in children(item, codes.EQUATION_CITATION)]
    return str(said)


def texts(ds: Dataset) -> list[str]:
    return [str(it.TextValue) for it in content(ds, "TEXT") if name_of(it) == codes.COMMENT]


def test_the_root_is_that_of_the_template_and_its_sections_in_order() -> None:
    ds = report([*s.sizes(FRAME), *s.sizes(FRAME, NT=1.6), judged(codes.NORMAL, 0.9)])
    assert name_of(ds) == codes.OBSTETRIC_REPORT
    template = ds.ContentTemplateSequence[0]
    assert (template.TemplateIdentifier, template.MappingResource) == ("5000", "DCMR")
    assert [name_of(it) for it in ds.ContentSequence if it.ValueType == "CONTAINER"] == [
        codes.IMAGE_LIBRARY,
        codes.SUMMARY,
        codes.RATIOS,
        codes.BIOMETRY,
        codes.ANATOMY_SURVEY,
        codes.EARLY_GESTATION,
    ]
    assert (ds.SeriesNumber, ds.Modality, ds.SOPClassUID) == (902, "SR", "1.2.840.10008.5.1.4.1.1.88.33")
    assert (ds.PreliminaryFlag, ds.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")


def test_a_group_has_size_age_and_equation() -> None:
    ds = report(s.sizes(FRAME))
    # Hadlock 1984: 8.96 + 0.540 x 26.6 + 0.0003 x 26.6^3 = 28.97 weeks; 8.14 + 0.753 x 24 + 0.0036 x 24^2 = 28.29;
    # 10.35 + 2.460 x 5.4 + 0.170 x 5.4^2 = 28.59
    expected = {"HC": (266.0, 203, "11932-1"), "AC": (240.0, 198, "11892-7"), "FL": (54.0, 200, "11920-6")}
    for quantity, (mm, days, code) in expected.items():
        it = group(ds, quantity)
        assert numbers(it) == {s.QUANTITIES[quantity].value: (mm, "mm"), "18185-9": (days, "d")}
        assert equation(it, "18185-9") == code
    assert numbers(group(ds, "OFD")) == {"11851-3": (94.0, "mm")}


def test_a_bpd_that_is_measured_otherwise_than_the_equation_has_no_age_but_the_reason() -> None:
    it = group(report(s.sizes(FRAME)), "BPD")
    assert numbers(it) == {"11820-8": (74.0, "mm")}
    (said,) = texts(it)
    assert said.startswith("Not given: GA from BPD")
    assert "outer to outer" in said


def test_a_size_shows_what_was_measured_and_by_which_algorithm() -> None:
    (item,) = [it for it in group(report(s.sizes(THIRD)), "HC").ContentSequence if name_of(it) == s.HEAD_CIRCUMFERENCE]
    (shape,) = content(item, "SCOORD")
    assert (shape.RelationshipType, shape.GraphicType) == ("INFERRED FROM", "ELLIPSE")
    assert list(shape.GraphicData) == [40, 60, 120, 60, 80, 30, 80, 90]
    seen = shape.ContentSequence[0].ReferencedSOPSequence[0]
    assert (seen.ReferencedSOPInstanceUID, seen.ReferencedFrameNumber) == (CINE.SOPInstanceUID, 3)
    said = {name_of(it): it for it in item.ContentSequence}
    assert said[codes.ALGORITHM_NAME].TextValue == "HeadUNet"
    assert said[codes.ALGORITHM_VERSION].RelationshipType == "HAS CONCEPT MOD"


def test_ratios_and_the_summary_of_the_fetus() -> None:
    ds = report(s.sizes(FRAME))
    # 266/240, 54/240, 54/266, 74/94; nothing with the BPD alone
    assert numbers(section(ds, codes.RATIOS)) == {
        "11947-9": (1.108, "1"),
        "11871-1": (0.225, "1"),
        "11873-7": (0.203, "1"),
        "11823-2": (0.787, "1"),
    }
    # Age: 10.33 + 0.031 x 26.6 x 5.4 + 0.361 x 26.6 + 0.0298 x 24 x 5.4 = 28.25 weeks.
    # Weight: 10^(1.326 - 0.00326 x 24 x 5.4 + 0.0107 x 26.6 + 0.0438 x 24 + 0.158 x 5.4) = 10^3.0925 = 1237 g.
    assert numbers(fetus_summary(ds)) == {"11888-5": (198, "d"), "11727-5": (1237, "g")}
    assert equation(fetus_summary(ds), "11727-5") == "11746-5"
    assert equation(fetus_summary(ds), "11888-5") == "Hadlock et al., Radiology 152:497 (1984)"
    assert "GA from HC, AC, FL: 28 w 2 d." in texts(fetus_summary(ds))
    assert any(said.startswith("No percentiles: ") for said in texts(fetus_summary(ds)))


def test_with_dates_of_the_scanner_there_are_percentiles() -> None:
    # 28 weeks before the study; HC: (26.6 - (-11.48 + 1.56 x 28 - 0.0002548 x 28^3)) / 1.0 = -0.0066 SD
    told = ScannerReport("1.2.3", ON, last_menstrual_period=date(2025, 6, 20))
    ds = report(s.sizes(FRAME), scanner_report=told)
    it = group(ds, "HC")
    assert numbers(it)["125012"] == (pytest.approx(49.7, abs=0.1), "%")
    assert equation(it, "125012") == "33173-6"
    said = numbers(fetus_summary(ds))
    assert said["11885-1"] == (196, "d")
    # Hadlock 1991: exp(0.578 + 0.332 x 28 - 0.00354 x 28^2) = 1210 g are expected; 2.24 % more at 13.3 % a deviation
    assert said["11767-1"] == (pytest.approx(56.7, abs=0.1), "%")
    assert equation(fetus_summary(ds), "11767-1") == "128041"
    (day,) = [it for it in section(ds, codes.SUMMARY).ContentSequence if it.ValueType == "DATE"]
    assert (name_of(day), str(day.Date)) == (codes.LAST_MENSTRUAL_PERIOD, "20250620")


def test_an_age_by_the_day_of_delivery_is_not_called_one_by_the_last_period() -> None:
    told = ScannerReport("1.2.3", ON, expected_delivery=date(2026, 3, 27))
    ds = report(s.sizes(FRAME), scanner_report=told)
    said = numbers(fetus_summary(ds))
    assert said["18185-9"] == (196, "d")
    assert "11885-1" not in said
    assert equation(fetus_summary(ds), "18185-9") == "by the expected day of delivery (EDD)"


def test_a_day_of_delivery_by_the_last_period_stays_one() -> None:
    told = ScannerReport("1.2.3", ON, expected_delivery_by_lmp=date(2026, 3, 27))
    ds = report(s.sizes(FRAME), scanner_report=told)
    assert numbers(fetus_summary(ds))["11885-1"] == (196, "d")
    (day,) = [it for it in section(ds, codes.SUMMARY).ContentSequence if it.ValueType == "DATE"]
    assert (name_of(day), str(day.Date)) == (codes.EXPECTED_DELIVERY_BY_LMP, "20260327")


def test_several_frames_are_all_told_and_their_mean_is_chosen() -> None:
    it = group(report([*s.sizes(FRAME), *s.sizes(THIRD, HC=270.0)]), "HC")
    heads = [item for item in it.ContentSequence if name_of(item) == s.HEAD_CIRCUMFERENCE]
    assert [number(item) for item in heads] == [266.0, 270.0, 268.0]
    chosen = [item for item in heads if children(item, codes.SELECTION_STATUS)]
    assert [number(item) for item in chosen] == [268.0]
    (mean,) = chosen
    assert value_of(children(mean, codes.DERIVATION)[0]) == codes.MEAN
    assert value_of(children(mean, codes.SELECTION_STATUS)[0]) == codes.MEAN_CHOSEN
    # of the mean: 8.96 + 0.540 x 26.8 + 0.0003 x 26.8^3 = 29.21 weeks
    assert numbers(it)["18185-9"] == (204, "d")


def test_a_reader_of_scanners_reports_reads_ours() -> None:
    told = ScannerReport("1.2.3", ON, last_menstrual_period=date(2025, 6, 20))
    ds = report([*s.sizes(FRAME), *s.sizes(THIRD, HC=270.0), *s.sizes(FRAME, NT=1.6)], scanner_report=told)
    assert read_scanner_report(ds) is None  # it is our own
    ds.ManufacturerModelName = "Scanner"
    read = read_scanner_report(ds)
    assert read is not None
    expected = {**s.SIZES_28_WEEKS, "HC": 268.0, "NT": 1.6}
    assert {it.quantity: it.value_mm for it in read.sizes} == {s.QUANTITIES[name]: mm for name, mm in expected.items()}
    assert (read.fetuses, read.number_of_fetuses, read.last_menstrual_period) == (("1",), 1, date(2025, 6, 20))


def test_a_quantity_whose_frames_disagree_is_left_out_and_both_reports_say_so() -> None:
    found = [*s.sizes(FRAME), *s.sizes(THIRD, HC=200.0)]
    ds = report(found)
    assert "11984-2" not in {
        code for it in children(section(ds, codes.BIOMETRY), codes.BIOMETRY_GROUP) for code in numbers(it)
    }
    assert "Not given: HC: the frames disagree: 200 to 266 mm." in texts(ds)
    findings_sr = build_objects(s.analysis(found), [STILL, CINE], {}, NODE)[0]
    assert isinstance(findings_sr, ResultObject)
    said = texts(pydicom.dcmread(io.BytesIO(findings_sr.part10)))
    assert "HC is not in the biometry report: the frames disagree: 200 to 266 mm" in said


@pytest.mark.parametrize("found", [(), s.findings(FRAME, millimetres=False), (judged(codes.NORMAL, 0.9),)])
def test_without_a_size_in_millimetres_there_is_no_obstetric_report(found: Sequence[Finding]) -> None:
    assert reports(found) == []


def test_a_quantity_that_the_template_has_no_place_for_makes_no_report() -> None:
    (head,) = s.sizes(FRAME, HC=266.0)
    assert reports([dataclasses.replace(head, quantity=Concept("LIMB", "99FETALAI", "Limb"))]) == []


def test_a_nuchal_translucency_belongs_into_early_gestation() -> None:
    ds = report(s.sizes(FRAME, NT=1.6))
    assert not children(ds, codes.BIOMETRY)
    assert numbers(group(ds, "NT", codes.EARLY_GESTATION)) == {"33069-6": (1.6, "mm")}


@pytest.mark.parametrize(
    ("judgements", "value", "comment"),
    [
        ([judged(codes.NORMAL, 0.9)], codes.NORMAL, "AI: Normal (90%); " + LEARNED),
        ([judged(codes.ABNORMAL, 0.8)], codes.ABNORMAL, "AI: Abnormal (80%); " + LEARNED),
        ([judged(BORDERLINE, 0.6)], codes.NORMALITY_UNDETERMINED, "AI: Borderline (60%); " + LEARNED),
        (
            [judged(codes.NORMAL, 0.9), judged(codes.ABNORMAL, 0.5)],
            codes.NORMALITY_UNDETERMINED,
            "AI: Normal (90%), Abnormal (50%); " + LEARNED,
        ),
    ],
)
def test_structures_are_surveyed(judgements: list[Classification], value: Concept, comment: str) -> None:
    it = section(report([*s.sizes(FRAME), *judgements]), codes.ANATOMY_SURVEY)
    (assessed,) = [item for item in it.ContentSequence if item.ValueType == "CODE"]
    assert (name_of(assessed), value_of(assessed)) == (s.NASAL_BONE, value)
    (said,) = assessed.ContentSequence
    assert (said.RelationshipType, said.TextValue) == ("HAS PROPERTIES", comment)


def test_structures_that_the_survey_does_not_know_are_left_out() -> None:
    skin = Concept("113179006", "SCT", "Skin of nose")
    assert not children(report([*s.sizes(FRAME), judged(codes.NORMAL, 0.9, skin)]), codes.ANATOMY_SURVEY)


@pytest.mark.parametrize(
    ("told", "fetus", "words"),
    [
        (None, "1", "one fetus is assumed"),
        (ScannerReport("1.2.3"), "1", "one fetus is assumed"),
        (ScannerReport("1.2.3", fetuses=("A",)), "A", 'called "A", as in the scanner'),
    ],
)
def test_every_section_names_the_fetus(told: ScannerReport | None, fetus: str, words: str) -> None:
    ds = report([*s.sizes(FRAME), *s.sizes(FRAME, NT=1.6), judged(codes.NORMAL, 0.9)], scanner_report=told)
    concepts = (codes.RATIOS, codes.BIOMETRY, codes.ANATOMY_SURVEY, codes.EARLY_GESTATION)
    for it in (fetus_summary(ds), *(section(ds, concept) for concept in concepts)):
        first = it.ContentSequence[0]
        assert (name_of(first), first.TextValue, first.RelationshipType) == (codes.SUBJECT_ID, fetus, "HAS OBS CONTEXT")
    assert any(words in said for said in texts(ds))


def test_of_twins_nobody_knows_whose_sizes_they_are() -> None:
    told = ScannerReport("1.2.3", ON, fetuses=("A", "B"), number_of_fetuses=2)
    found = s.sizes(FRAME)
    assert reports(found, scanner_report=told) == []
    findings_sr = build_objects(s.analysis(found, scanner_report=told), [STILL], {}, NODE)[0]
    assert isinstance(findings_sr, ResultObject)
    ds = pydicom.dcmread(io.BytesIO(findings_sr.part10))
    assert [it.TextValue for it in children(ds, codes.SUBJECT_ID)] == ["unknown"]
    assert "The scanner's report speaks of 2 fetuses (A, B); the images do not say which of them they show." in texts(
        ds
    )
    assert any(
        said.startswith("HC is not in the biometry report: the scanner's report speaks of 2") for said in texts(ds)
    )


def test_it_replaces_its_own_predecessor_only() -> None:
    before = [
        Predecessor("1.2.840.10008.5.1.4.1.1.88.33", "2.25.1", "2.25.2"),
        Predecessor("1.2.840.10008.5.1.4.1.1.88.33", "2.25.3", "2.25.4", "biometry_sr"),
    ]

    def replaced(ds: Dataset) -> list[str]:
        (study,) = ds.PredecessorDocumentsSequence
        return [str(it.SeriesInstanceUID) for it in study.ReferencedSeriesSequence]

    assert replaced(report(s.sizes(FRAME), previous=before)) == ["2.25.4"]
    # without biometry the report of findings replaces both: no old answer stays alive
    built = build_objects(s.analysis(()), [STILL], {}, NODE, before)[0]
    assert isinstance(built, ResultObject)
    assert replaced(pydicom.dcmread(io.BytesIO(built.part10))) == ["2.25.2", "2.25.4"]


def test_a_repeat_makes_the_same_bytes() -> None:
    analysis = s.analysis(s.sizes(FRAME))
    assert build_objects(analysis, [STILL], {}, NODE) == build_objects(analysis, [STILL], {}, NODE)


def test_a_size_on_an_unknown_instance_quarantines_the_report() -> None:
    stray = s.sizes(dataclasses.replace(FRAME, sop_instance_uid="1.2.3"))
    (held_back,) = [it for it in build_objects(s.analysis(stray), [STILL], {}, NODE) if it.kind == "biometry_sr"]
    assert isinstance(held_back, QuarantinedObject)
    assert "1.2.3, which is not in evidence" in held_back.reason
