"""The scale of a picture, from the Sequence of Ultrasound Regions (PS3.3 C.8.5.5), or the reason why it has none.

A wrong scale is worse than none: whatever is doubtful gives no millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from pydicom import Dataset

from dicom_node.domain.frame import Calibration, Region

#: Defined Terms of C.8.5.5.1: Region Spatial Format 2D, Region Data Type Tissue, Physical Units centimetres.
_TWO_DIMENSIONAL, _TISSUE, _CENTIMETRES = 1, 1, 3
#: Pixels of a display are square; deltas that differ more come from a picture that was stretched afterwards.
_MAX_RELATIVE_DIFFERENCE = 0.02
#: Between a high-frequency close-up and a deep abdominal scan; outside it the unit cannot be centimetres.
_PLAUSIBLE_MM_PER_PX = (0.005, 5.0)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def calibration_of(ds: Dataset) -> Calibration:
    """Find the calibrated 2D tissue regions of an instance.

    Pixel Spacing is not used: it is in no ultrasound module, and who wrote it there is unknown.
    """
    if str(ds.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        return Calibration(reason="a secondary capture has no scale")
    try:
        items = ds.get("SequenceOfUltrasoundRegions") or ()
        if not items:
            return Calibration(reason="the image has no calibrated ultrasound region")
        return _judged(items, int(ds.Rows), int(ds.Columns))
    except Exception:  # noqa: BLE001 - pydicom has no one error for what it cannot read
        return Calibration(reason="an ultrasound region has unreadable values")


def _judged(items: Sequence[Dataset], rows: int, columns: int) -> Calibration:
    if any(not _inside(item, rows, columns) for item in items):
        return Calibration(reason="an ultrasound region lies outside the image, which was resized after calibration")
    tissue = [item for item in items if _shows_tissue(item)]
    if not tissue:
        return Calibration(reason="no ultrasound region shows two-dimensional tissue")
    reasons = [_why_unusable(item) for item in tissue]
    regions = tuple(
        _region(item, rows, columns) for item, reason in zip(tissue, reasons, strict=True) if reason is None
    )
    if not regions:
        return Calibration(reason=next(reason for reason in reasons if reason))
    if any(_overlap(a, b) and not _same_scale(a, b) for a, b in combinations(regions, 2)):
        return Calibration(reason="two overlapping ultrasound regions have different scales")
    return Calibration(regions)


def _inside(item: Dataset, rows: int, columns: int) -> bool:
    """Tell whether a region is inside the image; scanners that give an exclusive maximum are one pixel over."""
    x0, y0, x1, y1 = _corners(item)
    return 0 <= x0 <= x1 <= columns and 0 <= y0 <= y1 <= rows


def _corners(item: Dataset) -> tuple[int, int, int, int]:
    return (
        int(item.RegionLocationMinX0),
        int(item.RegionLocationMinY0),
        int(item.RegionLocationMaxX1),
        int(item.RegionLocationMaxY1),
    )


def _shows_tissue(item: Dataset) -> bool:
    return bool(item.get("RegionSpatialFormat") == _TWO_DIMENSIONAL and item.get("RegionDataType") == _TISSUE)


def _why_unusable(item: Dataset) -> str | None:
    """Say why a tissue region gives no millimetres; None when it does."""
    if item.get("PhysicalUnitsXDirection") != _CENTIMETRES or item.get("PhysicalUnitsYDirection") != _CENTIMETRES:
        return "the scale of the ultrasound region is not in centimetres"
    x_mm, y_mm = _scale_mm(item)
    low, high = _PLAUSIBLE_MM_PER_PX
    if not (math.isfinite(x_mm) and math.isfinite(y_mm) and low <= x_mm <= high and low <= y_mm <= high):
        return "the scale of the ultrasound region is zero or implausible"
    if abs(x_mm - y_mm) > _MAX_RELATIVE_DIFFERENCE * max(x_mm, y_mm):
        return "the horizontal and vertical scale of the ultrasound region differ by more than 2 %"
    return None


def _scale_mm(item: Dataset) -> tuple[float, float]:
    """Give the millimetres of one pixel in x and y."""
    return abs(float(item.get("PhysicalDeltaX") or 0)) * 10, abs(float(item.get("PhysicalDeltaY") or 0)) * 10


def _region(item: Dataset, rows: int, columns: int) -> Region:
    x0, y0, x1, y1 = _corners(item)
    return Region(x0, y0, min(x1, columns - 1), min(y1, rows - 1), *_scale_mm(item))


def _overlap(a: Region, b: Region) -> bool:
    return a.x0 <= b.x1 and b.x0 <= a.x1 and a.y0 <= b.y1 and b.y0 <= a.y1


def _same_scale(a: Region, b: Region) -> bool:
    return abs(a.mm_per_px_x - b.mm_per_px_x) <= _MAX_RELATIVE_DIFFERENCE * max(a.mm_per_px_x, b.mm_per_px_x)
