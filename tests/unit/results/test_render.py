from __future__ import annotations

import numpy as np
import pytest
import synthetic as s

from dicom_node.domain.finding import Detection, Graphic, HeatMap, Segmentation
from dicom_node.domain.frame import Calibration, Frame
from dicom_node.results.heat import heat_overlay
from dicom_node.results.render import overlay

FRAME = s.reference(s.header())


def frame(rows: int, columns: int) -> Frame:
    return Frame(FRAME, np.zeros((rows, columns, 3), np.uint8), Calibration(reason="none"))


def box(x0: float, y0: float, x1: float, y1: float) -> Detection:
    return Detection("structures", FRAME, "thalami", s.THALAMI, s.THALAMI, (x0, y0, x1, y1), 0.5)


def test_a_box_is_drawn_where_it_lies_and_nothing_is_written_into_it() -> None:
    drawn = overlay(frame(480, 640), [box(200, 150, 300, 250)]).astype(int).sum(axis=2)
    assert drawn[149:152, 250].max() > 300  # upper edge
    assert drawn[200, 199:202].max() > 300  # left edge
    assert drawn[155:245, 205:295].max() == 0


def test_a_label_at_the_edge_stays_inside_the_picture() -> None:
    alone = overlay(frame(480, 640), [])
    labelled = overlay(frame(480, 640), [box(0, 0, 40, 30)])
    assert (labelled != alone)[40:, :].any() or (labelled != alone)[:, 50:].any()


@pytest.mark.parametrize("shape", [(32, 32), (240, 320), (1080, 1920)])
def test_every_size_of_picture_carries_the_warning(shape: tuple[int, int]) -> None:
    drawn = overlay(frame(*shape), [])
    assert drawn.shape == (*shape, 3)
    assert drawn.any()


def test_every_kind_of_finding_is_drawn_and_the_source_stays() -> None:
    source = frame(480, 640)
    outline = Graphic("polyline", ((10.0, 10.0), (60.0, 10.0), (40.0, 60.0), (10.0, 10.0)))
    findings = [*s.findings(FRAME), Segmentation("biometry", FRAME, "head", s.HEAD, outline, 0.9)]
    drawn = overlay(source, findings)
    assert drawn.any()
    assert not source.pixels.any()
    for finding in findings:
        rest = [other for other in findings if other is not finding]
        assert not np.array_equal(overlay(source, rest), drawn), finding


def heat_map(*values: tuple[float, ...]) -> HeatMap:
    return HeatMap("anomalies", FRAME, "anomaly", s.ENCEPHALOCELE, "encephalocele", 0.9, values, "Grad-CAM")


def test_heat_tints_what_it_is_over_and_leaves_the_rest_as_it_was() -> None:
    source = frame(480, 640)
    source.pixels[:] = 100
    drawn = heat_overlay(source, heat_map((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 0.0)))
    hot, cold = drawn[240, 400].astype(int), drawn[240, 80]
    assert hot[0] > hot[2] + 50  # yellow, not blue
    assert (cold == 100).all()
    assert (source.pixels == 100).all()


def test_no_anatomy_is_hidden_by_heat() -> None:
    source = frame(480, 640)
    source.pixels[230:250, 300:320] = 255
    drawn = heat_overlay(source, heat_map((1.0, 1.0), (1.0, 1.0))).astype(int)
    assert drawn[240, 310].sum() > drawn[240, 330].sum() + 150


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (1080, 1920)])
def test_a_heat_map_of_every_size_carries_its_legend_and_the_warning(shape: tuple[int, int]) -> None:
    drawn = heat_overlay(frame(*shape), heat_map((0.0,), (0.0,)))
    assert drawn.shape == (*shape, 3)
    assert drawn.any()


@pytest.mark.parametrize("values", [((0.0, 1.0), (0.5,)), ((),), ((1.2,),), ((float("nan"),),)])
def test_a_heat_map_has_whole_rows_of_values_from_0_to_1(values: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="a heat map has"):
        heat_map(*values)
