from __future__ import annotations

import pytest
import synthetic as s
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from dicom_node.imaging.regions import calibration_of


def scanned(*regions: Dataset, **changes: object) -> Dataset:
    return s.header(Rows=120, Columns=160, SequenceOfUltrasoundRegions=list(regions), **changes)


def test_a_tissue_region_gives_millimetres() -> None:
    calibration = calibration_of(scanned(s.region(cm_per_px=0.025)))
    assert calibration.regions[0].mm_per_px_x == pytest.approx(0.25)


def test_deltas_may_be_negative() -> None:
    calibration = calibration_of(scanned(s.region(PhysicalDeltaX=-0.02)))
    assert calibration.regions[0].mm_per_px_x == pytest.approx(0.2)


def test_x_and_y_keep_their_own_scale() -> None:
    (region,) = calibration_of(scanned(s.region(PhysicalDeltaY=0.0202))).regions
    assert (region.mm_per_px_x, region.mm_per_px_y) == pytest.approx((0.2, 0.202))


def test_an_exclusive_maximum_is_clipped() -> None:
    (region,) = calibration_of(scanned(s.region(0, 0, 160, 120))).regions
    assert (region.x1, region.y1) == (159, 119)


def test_a_strip_beside_the_tissue_is_ignored() -> None:
    strip = s.region(0, 90, 159, 119, RegionSpatialFormat=4, RegionDataType=10, PhysicalUnitsXDirection=4)
    assert len(calibration_of(scanned(s.region(0, 0, 159, 80), strip)).regions) == 1


def test_two_halves_are_two_regions() -> None:
    halves = (s.region(0, 0, 79, 119), s.region(80, 0, 159, 119, cm_per_px=0.04))
    assert len(calibration_of(scanned(*halves)).regions) == 2


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (s.header(Rows=120, Columns=160), "no calibrated ultrasound region"),
        (s.header(Rows=120, Columns=160, PixelSpacing=[0.2, 0.2]), "no calibrated ultrasound region"),
        (scanned(s.region(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
        (scanned(s.region(x1=161)), "outside the image"),
        (scanned(s.region(), s.region(y1=300, RegionDataType=10)), "outside the image"),
        (scanned(s.region(x0=150, x1=20)), "outside the image"),
        (scanned(s.region(RegionSpatialFormat=2)), "no ultrasound region shows two-dimensional tissue"),
        (scanned(s.region(RegionDataType=2)), "no ultrasound region shows two-dimensional tissue"),
        (scanned(s.region(RegionSpatialFormat=None)), "no ultrasound region shows two-dimensional tissue"),
        (scanned(s.region(PhysicalUnitsYDirection=4)), "not in centimetres"),
        (scanned(s.region(PhysicalDeltaY=0.0205)), "differ by more than 2 %"),
        (scanned(s.region(PhysicalDeltaX=0.0)), "zero or implausible"),
        (scanned(s.region(PhysicalDeltaX=float("nan"))), "zero or implausible"),
        (scanned(s.region(PhysicalDeltaX=2.0, PhysicalDeltaY=2.0)), "zero or implausible"),
        (scanned(s.region(PhysicalDeltaX=None, PhysicalDeltaY=None)), "zero or implausible"),
        (scanned(s.region(RegionLocationMinX0=None)), "unreadable values"),
        (scanned(s.region(), s.region(cm_per_px=0.03)), "overlapping ultrasound regions have different scales"),
    ],
)
def test_a_doubtful_scale_gives_a_reason_and_no_millimetres(ds: Dataset, reason: str) -> None:
    calibration = calibration_of(ds)
    assert not calibration.regions
    assert calibration.reason is not None
    assert reason in calibration.reason


@given(
    corners=st.tuples(*[st.integers(0, 200)] * 4),
    cm_per_px=st.floats(0.0005, 0.5),
    units=st.integers(0, 5),
    data_type=st.integers(0, 3),
)
def test_what_is_given_lies_inside_the_image(
    corners: tuple[int, int, int, int], cm_per_px: float, units: int, data_type: int
) -> None:
    item = s.region(*corners, cm_per_px=cm_per_px, PhysicalUnitsXDirection=units, RegionDataType=data_type)
    for region in calibration_of(scanned(item)).regions:
        assert 0 <= region.x0 <= region.x1 < 160
        assert 0 <= region.y0 <= region.y1 < 120
        assert region.mm_per_px_x == pytest.approx(cm_per_px * 10)
        assert (units, data_type) == (3, 1)
