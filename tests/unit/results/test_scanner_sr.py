"""A scanner's report is read by its codes, whatever its vendor made of the template."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pydicom
import pytest
import synthetic as s
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_node.domain.concept import Concept
from dicom_node.domain.scanner_report import ManualSize, ScannerReport
from dicom_node.results.identity import MODEL_NAME
from dicom_node.results.scanner_sr import read_scanner_report

HC, AC, FL = (s.QUANTITIES[name] for name in ("HC", "AC", "FL"))
DERIVATION = Concept("121401", "DCM", "Derivation")
MEAN, OLD_MEAN = Concept("373098007", "SCT", "Mean"), Concept("R-00317", "SRT", "Mean")
FETUS_ID, FETUS_NUMBER = Concept("11951-1", "LN", "Fetus ID"), Concept("121037", "DCM", "Fetus Number")
SUBJECT_CLASS, FETUS = Concept("121024", "DCM", "Subject Class"), Concept("121026", "DCM", "Fetus")
COUNT = Concept("11878-6", "LN", "Number of Fetuses by US")
SUMMARY, FETUS_SUMMARY = Concept("121111", "DCM", "Summary"), Concept("125008", "DCM", "Fetus Summary")
EDD, EDD_BY_LMP = Concept("11778-8", "LN", "EDD"), Concept("11779-6", "LN", "EDD from LMP")
PRIVATE = Concept("GEU-1005-5", "99GEMS", "Humerus in a way of our own")


def read(*content: Dataset, **changes: object) -> ScannerReport:
    """Read a report as it comes from the disk."""
    report = read_scanner_report(s.as_read(s.scanner_report(*content, **changes)))
    assert report is not None
    return report


def sizes(*content: Dataset) -> dict[tuple[Concept, str | None], float]:
    return {(it.quantity, it.fetus): it.value_mm for it in read(*content).sizes}


def test_centimetres_and_millimetres() -> None:
    found = sizes(s.biometry_section(s.biometry_group("HC", (17.6, "cm")), s.biometry_group("AC", (152.5, "mm"))))
    assert found == {(HC, None): pytest.approx(176.0), (AC, None): 152.5}


@pytest.mark.parametrize("unit", ["[in_i]", "", "d"])
def test_a_length_in_another_unit_is_skipped(unit: str) -> None:
    assert sizes(s.biometry_section(s.biometry_group("HC", (7.0, unit)), s.biometry_group("FL", (30.0, "mm")))) == {
        (FL, None): 30.0
    }


def test_the_chosen_one_of_three_counts() -> None:
    chosen = s.number_item(HC, 17.9, "cm", s.CHOSEN)
    report = read(s.biometry_section(s.biometry_group("HC", (17.4, "cm"), chosen, (17.5, "cm"))))
    assert report.sizes == (ManualSize(HC, None, pytest.approx(179.0), "chosen of 3 values"),)


@pytest.mark.parametrize("mean", [MEAN, OLD_MEAN])
def test_the_mean_counts_where_none_is_chosen(mean: Concept) -> None:
    averaged = s.number_item(HC, 17.5, "cm", s.marked(DERIVATION, mean, "HAS CONCEPT MOD"))
    report = read(s.biometry_section(s.biometry_group("HC", (17.2, "cm"), (17.8, "cm"), averaged)))
    assert report.sizes == (ManualSize(HC, None, pytest.approx(175.0), "mean of 2 values"),)


@pytest.mark.parametrize(
    ("name", "fetus"),
    [
        (s.text_item(s.SUBJECT_ID, "A"), "A"),
        (s.text_item(FETUS_ID, "Fetus 1"), "Fetus 1"),
        (s.number_item(FETUS_NUMBER, 1, "1"), "1"),
        (s.text_item(FETUS_NUMBER, "1"), "1"),
    ],
)
def test_a_fetus_is_named_in_one_of_three_ways(name: Dataset, fetus: str) -> None:
    report = read(s.biometry_section(name, s.biometry_group("HC", (17.6, "cm"))))
    assert (report.fetuses, report.number_of_fetuses) == ((fetus,), 1)
    assert [it.fetus for it in report.sizes] == [fetus]


def test_twins_are_kept_apart() -> None:
    report = read(
        *(
            s.biometry_section(s.text_item(s.SUBJECT_ID, fetus), s.biometry_group("HC", (cm, "cm")))
            for fetus, cm in (("A", 17.6), ("B", 16.9))
        )
    )
    assert {it.fetus: it.value_mm for it in report.sizes} == {"A": pytest.approx(176), "B": pytest.approx(169)}
    assert (report.fetuses, report.number_of_fetuses) == (("A", "B"), 2)


def test_one_fetus_that_is_named_in_two_ways_is_no_twin() -> None:
    report = read(
        s.biometry_section(s.text_item(s.SUBJECT_ID, "A"), s.biometry_group("HC", (17.6, "cm"))),
        s.biometry_section(s.number_item(FETUS_NUMBER, 1, "1"), s.biometry_group("AC", (15.0, "cm"))),
    )
    assert (report.fetuses, report.number_of_fetuses) == (("A", "1"), 1)


def test_two_ids_are_twins_in_whichever_way_each_is_named() -> None:
    report = read(
        s.biometry_section(s.text_item(s.SUBJECT_ID, "A"), s.biometry_group("HC", (17.0, "cm"))),
        s.biometry_section(s.text_item(FETUS_ID, "B"), s.biometry_group("HC", (19.0, "cm"))),
    )
    assert (report.fetuses, report.number_of_fetuses) == (("A", "B"), 2)


def test_a_value_may_name_its_fetus_itself() -> None:
    own = s.number_item(HC, 176.0, "mm", s.text_item(FETUS_ID, "B"))
    assert sizes(s.biometry_section(s.biometry_group("HC", own))) == {(HC, "B"): 176.0}


def test_the_number_of_fetuses_may_be_stated() -> None:
    assert read(s.content_item("CONTAINER", SUMMARY, s.number_item(COUNT, 3, "1"))).number_of_fetuses == 3
    count = s.number_item(COUNT, 2026, "1")
    assert read(s.content_item("CONTAINER", SUMMARY, count), s.date_item(s.LMP, "20250620")).number_of_fetuses == 1


def test_the_subject_of_the_root_is_the_mother_unless_it_says_fetus() -> None:
    measured = s.biometry_section(s.biometry_group("HC", (17.6, "cm")))
    assert read(s.text_item(s.SUBJECT_ID, "PATIENT-4711"), measured).fetuses == ()
    a_fetus = s.marked(SUBJECT_CLASS, FETUS, "HAS OBS CONTEXT")
    assert read(a_fetus, s.text_item(s.SUBJECT_ID, "A"), measured).fetuses == ("A",)


def test_what_a_number_was_computed_from_is_no_measurement() -> None:
    weight = s.number_item(Concept("11727-5", "LN", "Estimated Weight"), 350, "g", s.number_item(HC, 99.0, "mm"))
    found = sizes(
        s.content_item("CONTAINER", SUMMARY, weight), s.biometry_section(s.biometry_group("HC", (176.0, "mm")))
    )
    assert found == {(HC, None): 176.0}


def test_dates_and_the_age_that_rests_on_them() -> None:
    report = read(s.date_item(s.LMP, "20250620"), s.date_item(EDD, "20260327"))
    assert (report.last_menstrual_period, report.expected_delivery) == (date(2025, 6, 20), date(2026, 3, 27))
    assert report.examined_on == date(2026, 1, 2)
    by_lmp = read(s.date_item(EDD_BY_LMP, "20260327"))
    assert (by_lmp.expected_delivery, by_lmp.expected_delivery_by_lmp) == (None, date(2026, 3, 27))
    assert by_lmp.first_day == date(2025, 6, 20)
    age = s.number_item(Concept("11885-1", "LN", "Gestational Age by LMP"), 28, "wk")
    assert read(s.content_item("CONTAINER", FETUS_SUMMARY, age)).age_by_dates_days == 196


def test_an_age_from_sizes_is_no_age_by_dates() -> None:
    """Growth told against the sizes themselves would always look normal."""
    derived = [
        s.number_item(Concept("18185-9", "LN", "Gestational Age"), 203, "d"),
        s.number_item(Concept("11888-5", "LN", "Composite Ultrasound Age"), 198, "d"),
    ]
    by_size = s.date_item(Concept("11781-2", "LN", "EDD from average ultrasound age"), "20260327")
    report = read(by_size, s.biometry_section(s.biometry_group("HC", (176.0, "mm"), *derived)))
    assert not report.has_dates


def without(keyword: str) -> Dataset:
    item = s.number_item(FL, 30.0, "mm")
    del item[keyword]
    return item


def of_bytes(keyword: str, vr: str, value: bytes) -> Dataset:
    """Give a number whose value is not what its type says."""
    item = s.number_item(FL, 30.0, "mm")
    tag = Tag(keyword)
    item.MeasuredValueSequence[0][tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return item


BROKEN: dict[str, Callable[[], Dataset]] = {
    "private code": lambda: s.number_item(PRIVATE, 31.0, "mm"),
    "no name": lambda: without("ConceptNameCodeSequence"),
    "no value": lambda: without("MeasuredValueSequence"),
    "empty value": lambda: s.changed(s.number_item(FL, 30.0, "mm"), MeasuredValueSequence=[]),
    "no number": lambda: of_bytes("NumericValue", "DS", b"about 3 "),
    "two numbers": lambda: of_bytes("NumericValue", "DS", b"30\\31 "),
    "zero": lambda: s.number_item(FL, 0, "mm"),
    "negative": lambda: s.number_item(FL, -3, "mm"),
    "no type": lambda: without("ValueType"),
    "date": lambda: s.date_item(s.LMP, "00000000"),
    "empty date": lambda: s.date_item(s.LMP, ""),
    "container of nothing": lambda: s.content_item("CONTAINER", FETUS_SUMMARY),
    "fetus without a name": lambda: s.biometry_section(s.text_item(s.SUBJECT_ID, " ")),
}


@pytest.mark.filterwarnings("ignore")  # pydicom remarks on some of them
@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_unknown_or_broken_costs_only_itself(fault: str) -> None:
    content = s.biometry_section(BROKEN[fault](), s.biometry_group("HC", (176.0, "mm")), BROKEN[fault]())
    report = read_scanner_report(s.scanner_report(content))
    assert report is not None
    assert {it.quantity: it.value_mm for it in report.sizes} in ({HC: 176.0}, {HC: 176.0, FL: 30.0})
    assert (report.has_dates, report.fetuses) == (False, ())


def test_a_tree_deeper_than_any_program_can_follow_says_nothing() -> None:
    deep = s.biometry_section(s.biometry_group("HC", (176.0, "mm")))
    for _ in range(3000):
        deep = s.biometry_section(deep)
    assert read_scanner_report(s.scanner_report(deep)) is None


@pytest.mark.parametrize(
    "ds",
    [
        s.scanner_report(),
        s.scanner_report(s.biometry_section(s.number_item(PRIVATE, 31.0, "mm"))),
        s.scanner_report(s.biometry_section(s.biometry_group("HC", (176.0, "mm"))), ManufacturerModelName=MODEL_NAME),
        s.changed(
            s.scanner_report(s.biometry_section(s.biometry_group("HC", (176.0, "mm")))),
            ContentTemplateSequence=None,
            ConceptNameCodeSequence=[s.code_item(Concept("126000", "DCM", "Imaging Measurement Report"))],
        ),
        s.header(),
        pydicom.Dataset(),
    ],
    ids=["empty", "only private", "our own", "another template", "an image", "nothing"],
)
def test_what_is_no_scanners_report_is_none(ds: Dataset) -> None:
    assert read_scanner_report(ds) is None
