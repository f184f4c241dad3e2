"""Which of a sonographer's values stands, and how far the node is from it."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest
import synthetic as s

from dicom_node.domain.assessment import assess
from dicom_node.domain.biometry import Derived, NotDerived
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.scanner_report import (
    ManualSize,
    Reading,
    ScannerReport,
    differences,
    manual_sizes,
    together,
)
from dicom_node.domain.summary import summarise

FRAME = FrameReference("1.2", "1.2.3", 4)
HC, AC = s.QUANTITIES["HC"], s.QUANTITIES["AC"]
ON = date(2026, 1, 2)


def hc(value_mm: float, fetus: str | None = None, **marks: bool) -> Reading:
    return Reading(HC, fetus, value_mm, **marks)


@pytest.mark.parametrize(
    ("readings", "value_mm", "how"),
    [
        ([hc(170.0)], 170.0, ""),
        ([hc(170.0), hc(176.0, chosen=True), hc(173.0, mean=True)], 176.0, "chosen of 3 values"),
        ([hc(170.0), hc(176.0), hc(174.0, mean=True)], 174.0, "mean of 2 values"),
        ([hc(170.0), hc(176.0)], 173.0, "mean of 2 values"),
    ],
)
def test_the_value_that_the_sonographer_stands_by(readings: list[Reading], value_mm: float, how: str) -> None:
    assert manual_sizes(readings) == (ManualSize(HC, None, value_mm, how),)


def test_each_fetus_and_quantity_has_its_own() -> None:
    found = manual_sizes([hc(170.0, "A"), hc(160.0, "B"), Reading(AC, "A", 150.0)])
    assert [(it.quantity, it.fetus, it.value_mm) for it in found] == [
        (HC, "A", 170.0),
        (HC, "B", 160.0),
        (AC, "A", 150.0),
    ]


def test_the_difference_is_the_nodes_value_less_the_sonographers() -> None:
    (head,) = s.sizes(FRAME, HC=266.0)
    told = ScannerReport("1.2", sizes=(ManualSize(HC, None, 280.0), ManualSize(AC, None, 240.0)))
    (it,) = differences(head, told)
    assert (it.manual.value_mm, it.difference_mm, it.percent) == (280.0, -14.0, -5.0)
    assert differences(head, None) == []
    assert differences(dataclasses.replace(head, unit="{pixels}"), told) == []


def test_the_summary_says_it_too() -> None:
    told = ScannerReport("1.2", sizes=(ManualSize(HC, None, 280.0),))
    assert summarise(s.sizes(FRAME, HC=266.0), [], told)[0]["note"] == "AI less sonographer: -14.0 mm"
    assert summarise(s.sizes(FRAME, HC=266.0), [])[0]["note"] is None


def test_the_last_of_several_reports_counts() -> None:
    reports = [ScannerReport("1.9", written="20260102103000"), ScannerReport("1.1", written="20260102111500")]
    assert together(reports) is reports[1]
    assert together([]) is None


def test_a_report_for_each_fetus_makes_two_fetuses_of_whom_nobody_has_the_sizes() -> None:
    of_a = ScannerReport(
        "1.8", ON, "20260102103000", (ManualSize(HC, "A", 148.0),), ("A",), last_menstrual_period=date(2025, 9, 1)
    )
    older_of_b = ScannerReport("1.7", ON, "20260102102000", (ManualSize(HC, "B", 120.0),), ("B",))
    of_b = ScannerReport("1.9", ON, "20260102103500", (ManualSize(HC, "B", 159.0),), ("B",))
    both = together([of_a, of_b, older_of_b])
    assert both is not None
    assert (both.fetuses, both.number_of_fetuses) == (("B", "A"), 2)
    assert [(size.fetus, size.value_mm) for size in both.sizes] == [("B", 159.0), ("A", 148.0)]
    assert both.last_menstrual_period == date(2025, 9, 1)
    assert assess(s.sizes(FRAME, HC=150.0), both).sizes == {}


def test_a_quantity_in_pixels_beside_others_in_millimetres_is_said_to_be_left_out() -> None:
    (abdomen,) = s.sizes(FRAME, AC=170.0)
    in_pixels = dataclasses.replace(abdomen, unit="{pixels}", qualifier="the image has no calibrated ultrasound region")
    it = assess([*s.sizes(FRAME, HC=200.0), in_pixels], None)
    assert it.left_out == {"AC": "measured in pixels only: the image has no calibrated ultrasound region"}
    assert assess([in_pixels], None).left_out == {}
    assert assess([in_pixels, *s.sizes(FRAME, AC=170.0)], None).left_out == {}


@pytest.mark.parametrize(
    ("told", "days"),
    [
        (ScannerReport("1", ON, last_menstrual_period=date(2025, 6, 20)), 196),
        (ScannerReport("1", ON, expected_delivery=date(2026, 3, 27)), 196),
        (ScannerReport("1", ON, last_menstrual_period=date(2025, 6, 20), expected_delivery=date(2026, 4, 3)), 189),
        (ScannerReport("1", ON, expected_delivery_by_lmp=date(2026, 3, 27)), 196),
        (ScannerReport("1", None, last_menstrual_period=date(2025, 6, 20), age_by_dates_days=190), 190),
    ],
)
def test_the_age_by_dates_is_the_scanners(told: ScannerReport, days: int) -> None:
    it = assess(s.sizes(FRAME), told)
    assert isinstance(it.age, Derived)
    assert it.age.value == days
    assert any(one.name == "HC percentile" for one in it.derivations)


@pytest.mark.parametrize("told", [None, ScannerReport("1", ON), ScannerReport("1", ON, age_by_dates_days=900)])
def test_without_sound_dates_growth_is_not_told(told: ScannerReport | None) -> None:
    it = assess(s.sizes(FRAME), told)
    assert isinstance(it.age, NotDerived)
    assert not any("percentile" in one.name for one in it.derivations)


def test_of_several_fetuses_there_are_no_sizes() -> None:
    it = assess([*s.sizes(FRAME), *s.findings(FRAME, millimetres=False)], ScannerReport("1", ON, number_of_fetuses=2))
    assert (it.sizes, it.derivations) == ({}, ())
    assert set(it.left_out) == set(s.SIZES_28_WEEKS)
