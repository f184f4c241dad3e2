"""From sizes to ages, weights and growth; and when there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
import synthetic

from dicom_node.domain.biometry import (
    Derivation,
    Derived,
    NotDerived,
    age_by_dates,
    believable,
    derive,
    left_out,
    sizes_of,
    weeks_and_days,
)
from dicom_node.domain.finding import Measurement, NotAssessable
from dicom_node.domain.frame import FrameReference

FRAME = FrameReference("1.2", "1.2.3", 4)
# A fetus of 28 weeks (Hadlock 1984, table III).
SIZES = {"HC": 266.0, "BPD": 74.0, "OFD": 94.0, "AC": 240.0, "FL": 54.0}


def by_name(said: list[Derivation]) -> dict[str, Derivation]:
    return {one.name: one for one in said}


def value(derivation: Derivation) -> float:
    assert isinstance(derivation, Derived)
    return derivation.value


def reason(derivation: Derivation) -> str:
    assert isinstance(derivation, NotDerived)
    return derivation.reason


def heads(*values_mm: float) -> list[Measurement]:
    (head,) = (f for f in synthetic.findings(FRAME, millimetres=True) if isinstance(f, Measurement))
    return [replace(head, value=size, frame=replace(FRAME, frame_number=n)) for n, size in enumerate(values_mm, 1)]


def test_a_fetus_of_28_weeks_is_told_as_one() -> None:
    said = by_name(derive(SIZES))
    assert value(said["GA from HC, AC, FL"]) == pytest.approx(28 * 7, abs=4)
    assert value(said["EFW"]) == pytest.approx(1210, rel=0.05)
    assert value(said["HC/AC"]) == pytest.approx(266 / 240)
    assert value(said["Cephalic Index"]) == pytest.approx(74 / 94)
    age = said["GA from HC"]
    assert isinstance(age, Derived)
    assert (age.concept.value, age.unit, age.sizes) == ("18185-9", "d", ("HC",))
    assert age.equation is not None
    assert age.equation.value == "11932-1"
    weight = said["EFW"]
    assert isinstance(weight, Derived)
    assert weight.equation is not None
    assert (weight.concept.value, weight.equation.value) == ("11727-5", "11746-5")


def test_a_bpd_from_outer_to_outer_edge_has_no_age_of_hadlock() -> None:
    said = by_name(derive(SIZES, 196))
    for name in ("GA from BPD", "BPD percentile", "FL/BPD"):
        assert "outer to inner" in reason(said[name])


def test_what_was_not_measured_is_not_spoken_of() -> None:
    assert set(by_name(derive({"HC": 266.0}))) == {"GA from HC"}
    assert not derive({})
    assert "GA from HC, FL" in by_name(derive({"HC": 266.0, "FL": 54.0}))
    assert "EFW" not in by_name(derive({"HC": 266.0, "FL": 54.0}))


@pytest.mark.parametrize("sizes", [{"HC": 60.0}, {"FL": 95.0}, {"AC": 60.0}])
def test_an_age_that_the_equation_was_not_made_for_is_not_assessable(sizes: dict[str, float]) -> None:
    (said,) = derive(sizes)
    assert "outside the 14 to 42 weeks" in reason(said)


def test_a_weight_needs_each_of_its_sizes_in_range() -> None:
    said = by_name(derive({**SIZES, "FL": 8.0}))
    assert "the FL is that of" in reason(said["EFW"])
    assert "EFW percentile" not in by_name(derive({**SIZES, "FL": 8.0}, 196))


def test_growth_is_told_only_against_an_age_by_dates() -> None:
    assert not any("percentile" in one.name for one in derive(SIZES))
    said = by_name(derive(SIZES, 28 * 7))
    assert value(said["HC percentile"]) == pytest.approx(50, abs=3)
    small = by_name(derive(SIZES, 31 * 7))["EFW percentile"]
    assert isinstance(small, Derived)
    assert small.value < 5
    assert small.z_score is not None
    assert small.z_score < -2
    assert small.equation is not None
    assert (small.concept.value, small.equation.value) == ("11767-1", "128041")


def test_growth_outside_its_table_is_not_assessable() -> None:
    said = by_name(derive(SIZES, 41 * 7))
    assert "outside the 14 to 40 weeks" in reason(said["AC percentile"])
    assert "outside the 10 to 40 weeks" in reason(said["EFW percentile"])


def test_the_age_by_dates_comes_from_the_day_of_delivery_or_the_last_period() -> None:
    on = date(2026, 11, 21)
    assert value(age_by_dates(on, date(2026, 7, 4))) == 140
    assert value(age_by_dates(on, None, date(2027, 4, 10))) == 140
    assert value(age_by_dates(on, date(2026, 7, 4), date(2027, 4, 3))) == 147
    assert "neither" in reason(age_by_dates(on, None))
    assert "no pregnancy" in reason(age_by_dates(on, date(2027, 1, 1)))
    assert "no pregnancy" in reason(age_by_dates(on, date(2025, 1, 1)))
    assert "no pregnancy" in reason(age_by_dates(on, on))
    assert weeks_and_days(143.4) == "20 w 3 d"


def test_several_frames_give_their_mean() -> None:
    (size,) = sizes_of(heads(200.0, 204.0, 211.0)).values()
    assert (size.value_mm, len(size.frames), size.values_mm) == (205.0, 3, (200.0, 204.0, 211.0))
    assert not left_out(heads(200.0, 204.0, 210.0))


def test_frames_that_disagree_give_no_size_but_a_reason() -> None:
    assert not sizes_of(heads(200.0, 240.0))
    assert left_out(heads(200.0, 240.0)) == {"HC": "the frames disagree: 200 to 240 mm"}


@pytest.mark.parametrize("value_mm", [0.0, 0.05, 600.1, -3.0, float("nan")])
def test_a_size_that_no_fetus_has_is_not_assessable(value_mm: float) -> None:
    (it,) = heads(value_mm)
    assert believable(it) == NotAssessable(it.task, it.frame, "HC", f"{value_mm:.1f} mm is no size of a fetus")


@pytest.mark.parametrize("value_mm", [0.1, 600.0])
def test_a_size_that_a_fetus_may_have_stays(value_mm: float) -> None:
    assert [believable(it) for it in heads(value_mm)] == heads(value_mm)


def test_pixels_are_no_size_of_a_fetus_and_stay() -> None:
    in_pixels = replace(heads(1000.0)[0], unit="{pixels}")
    assert believable(in_pixels) == in_pixels


def test_pixels_have_no_age() -> None:
    assert not sizes_of(synthetic.findings(FRAME, millimetres=False))
