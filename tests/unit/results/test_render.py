from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import synthetic as s

from dicom_node.domain.finding import Detection, Finding, Graphic, HeatMap, Measurement, Segmentation
from dicom_node.domain.frame import Calibration, Frame, Region
from dicom_node.results.caption import BANNER, WARNING, remarks
from dicom_node.results.heat import heat_overlay
from dicom_node.results.labels import Block, Page
from dicom_node.results.render import Layout, Style, colours_of, covered, overlay, untouchable

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
    layout = Layout({})
    drawn = overlay(frame(*shape), [], layout)
    assert drawn.shape == (*shape, 3)
    assert words_of(layout.banner) == BANNER
    assert in_colour(drawn, WARNING)


def words_of(block: Block | None) -> str:
    return " ".join(text for text, _ in block.lines) if block else ""


def in_colour(drawn: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Tell whether letters of a colour, or a darker shade of it as thin ones have, are on a black picture."""
    reds, greens, blues = (drawn[..., channel].astype(float) for channel in range(3))
    bright = reds > 60
    like = abs(greens - reds * colour[1] / colour[0]) + abs(blues - reds * colour[2] / colour[0]) < 40
    return bool((bright & like).any())


def test_every_kind_of_finding_is_drawn_and_the_source_stays() -> None:
    source = frame(480, 640)
    outline = Graphic("polyline", ((10.0, 10.0), (60.0, 10.0), (40.0, 60.0), (10.0, 10.0)))
    findings = [*s.findings(FRAME), Segmentation("biometry", FRAME, "femur", s.HEAD, outline, 0.9)]
    drawn = overlay(source, findings)
    assert drawn.any()
    assert not source.pixels.any()
    for finding in findings:
        rest = [other for other in findings if other is not finding]
        assert not np.array_equal(overlay(source, rest), drawn), finding


def line(name: str, *points: tuple[float, float]) -> Measurement:
    graphic = Graphic("polyline", points)
    return Measurement("biometry", FRAME, name, s.HEAD_CIRCUMFERENCE, 10.0, "mm", graphic, s.HEAD)


def ink(rows: int, columns: int, *findings: object) -> np.ndarray:
    """Give where something is drawn besides what an empty frame carries."""
    drawn = overlay(frame(rows, columns), findings)  # type: ignore[arg-type]
    return drawn.max(axis=2) > 100


def test_callipers_mark_both_ends_of_a_measured_line_and_leave_the_points_open() -> None:
    drawn = ink(480, 640, line("FL", (200.0, 240.0), (440.0, 240.0)))
    arm = Style.of(np.zeros((480, 640, 3), np.uint8)).arm_px
    for x in (200, 440):
        assert drawn[int(240 - arm) + 1 : 238, x - 1 : x + 1].any()  # the upper arm
        assert drawn[242 : int(240 + arm), x - 1 : x + 1].any()  # the lower one
        assert not drawn[int(240 + arm) + 3 : int(240 + arm) + 8, x - 3 : x + 3].any()
    assert 0.3 < drawn[240, 215:425].mean() < 0.85  # dotted


def test_an_ellipse_whose_axes_are_measured_too_is_marked_once() -> None:
    ends = ((200.0, 240.0), (440.0, 240.0), (320.0, 150.0), (320.0, 330.0))
    round_it = Measurement("biometry", FRAME, "HC", s.HEAD_CIRCUMFERENCE, 1.0, "mm", Graphic("ellipse", ends), s.HEAD)
    axes = [line("OFD", *ends[:2]), line("BPD", *ends[2:])]
    colours = colours_of([round_it, *axes])
    assert len(set(colours.values())) == 3
    alone = overlay(frame(480, 640), [round_it]).astype(int)[240, 205]
    drawn = overlay(frame(480, 640), [round_it, *axes]).astype(int)[240, 205]
    assert alone[0] > alone[2] + 50  # yellow, as HC
    assert drawn[2] > drawn[0] + 50  # blue, as OFD, which comes first


def test_a_calibrated_picture_has_a_bar_of_round_length() -> None:
    region = Region(0, 0, 639, 479, 0.1, 0.1)
    plain = overlay(frame(480, 640), [])
    scaled = overlay(Frame(FRAME, np.zeros((480, 640, 3), np.uint8), Calibration((region,))), [])
    row = (scaled != plain).any(axis=2).sum(axis=1).max()
    assert 100 <= row <= 104  # 10 mm of 0.1 mm/px, and its rim


def crowd(rows: int, columns: int, seed: int) -> list[Detection]:
    """Put nine boxes where a small head has them."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(9):
        x, y = rng.uniform(0.2, 0.6) * columns, rng.uniform(0.25, 0.65) * rows
        name = ("thalami", "midbrain", "palate", "fourth_ventricle", "cisterna_magna", "nuchal_translucency",
                "nasal_tip", "nasal_skin", "nasal_bone")[number]  # fmt: skip
        found.append(
            Detection("structures", FRAME, name, s.THALAMI, s.THALAMI, (x, y, x + columns / 9, y + rows / 12), 0.5)
        )
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(240, 320), (485, 675), (1080, 1920)])
def test_no_text_touches_a_structure_a_calliper_or_other_text_or_leaves_the_picture(
    shape: tuple[int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[float, float, float, float]] = []
    take = Page._take
    monkeypatch.setattr(Page, "_take", lambda page, box: (places.append(box), take(page, box))[1])
    rows, columns = shape
    findings = [*crowd(rows, columns, seed), line("FL", (0.2 * columns, 0.8 * rows), (0.7 * columns, 0.75 * rows))]
    calibrated = Calibration((Region(0, 0, columns - 1, rows - 1, 0.1, 0.1),))
    picture = np.zeros((rows, columns, 3), np.uint8)
    layout = Layout(colours_of(findings))
    overlay(Frame(FRAME, picture, calibrated), findings, layout)
    assert len(places) >= 3
    assert min(shape) < 400 or len(layout.labels) == 9  # every box has its name beside it, or joined to it
    forbidden = untouchable(findings, Style.of(picture))
    for number, place in enumerate(places):
        x0, y0, x1, y1 = place
        assert min(x0, y0, columns - x1, rows - y1) >= 0, place
        others = [*forbidden, *places[:number]]
        assert not [box for box in others if min(x1, box[2]) - max(x0, box[0]) > 1 < min(y1, box[3]) - max(y0, box[1])]


def head(rows: int, columns: int, share: float) -> list[Finding]:
    """Measure a head that takes this share of the picture's width and height, with a plane and an anomaly."""
    x, y, a, b = columns / 2, rows / 2, share * columns / 2, share * rows / 2
    ends = ((x - a, y), (x + a, y), (x, y - b), (x, y + b))
    round_it = Measurement("biometry", FRAME, "HC", s.HEAD_CIRCUMFERENCE, 1.0, "mm", Graphic("ellipse", ends), s.HEAD)
    axes = [line("OFD", *ends[:2]), line("BPD", *ends[2:])]
    return [*s.findings(FRAME)[:1], round_it, *axes, *s.anomaly(FRAME)[:1]]


@pytest.mark.parametrize("share", [0.6, 0.97, 1.1])
@pytest.mark.parametrize("shape", [(240, 320), (600, 800)])
def test_on_a_head_that_fills_the_picture_no_text_touches_a_measured_line(shape: tuple[int, int], share: float) -> None:
    findings = head(*shape, share)
    layout = Layout(colours_of(findings))
    picture = overlay(frame(*shape), findings, layout)
    assert words_of(layout.banner) == BANNER
    lines = untouchable(findings, Style.of(picture))
    for block in (layout.banner, layout.caption):
        assert block is not None
        x0, y0, x1, y1 = block.box
        assert not [box for box in lines if min(x1, box[2]) > max(x0, box[0]) and min(y1, box[3]) > max(y0, box[1])]


def test_the_warning_stands_in_a_corner_where_the_head_reaches_the_edges() -> None:
    findings = head(600, 800, 0.92)
    layout = Layout(colours_of(findings))
    picture = overlay(frame(600, 800), findings, layout)
    assert layout.banner is not None
    assert len(layout.banner.lines) > 1
    x0, y0, x1, y1 = map(int, layout.banner.box)
    assert covered(findings, picture)[y0:y1, x0:x1].mean() < 0.1


def test_no_line_to_a_label_crosses_another_structure() -> None:
    wall = [box(40.0 + 22 * number, 30, 60.0 + 22 * number, 210) for number in range(10)]
    walls = [dataclasses.replace(it, name=f"wall {number}") for number, it in enumerate(wall)]
    drawn = overlay(frame(240, 320), walls)
    for it in walls:
        x0, y0, x1, y1 = (int(value) for value in it.box_xyxy_px)
        assert drawn[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].max() == 0


def scanned(*, letters: bool) -> Frame:
    """Draw a sector of tissue in a black picture, with what a scanner writes beside it on the right."""
    picture = np.zeros((480, 640, 3), np.uint8)
    cv2.fillPoly(picture, [np.array([(230, 0), (410, 0), (630, 479), (10, 479)])], (90, 90, 90))
    for row in range(9 if letters else 0):
        cv2.putText(picture, "Har-high 85", (530, 20 + 20 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (200,) * 3)
    return Frame(FRAME, picture, Calibration(reason="none"))


@pytest.mark.parametrize("corner", ["right", "left"])
def test_the_caption_stands_beside_the_sector_and_not_on_what_the_scanner_wrote(corner: str) -> None:
    source = scanned(letters=corner == "left")
    layout = Layout({})
    overlay(source, s.findings(FRAME)[:1] + s.anomaly(FRAME)[:1], layout)
    assert layout.caption is not None
    x0, y0, x1, y1 = map(int, layout.caption.box)
    assert (x1 < 320) if corner == "left" else (x0 > 320)
    assert (source.pixels[y0 : y1 + 1, x0 : x1 + 1] > 0).mean() < 0.02


def test_a_caption_is_broken_so_that_it_fits_between_tissue() -> None:
    words = [("one short line and another, much longer", (255, 255, 255)), ("the end", (9, 9, 9))]

    def written(free_px: int) -> Block:
        ground = np.ones((480, 640), np.float32)
        ground[:, :free_px] = 0
        picture = np.zeros((480, 640, 3), np.uint8)
        block = Page(picture, ground, np.zeros((480, 640), np.bool_), [], 13).write_block(words)
        assert block is not None
        assert block.box[2] <= free_px
        assert " ".join(text for text, _ in block.lines) == " ".join(text for text, _ in words)
        return block

    assert [len(written(free_px).lines) for free_px in (640, 210, 120)] == [2, 3, 4]


def test_text_stays_where_it_was_from_frame_to_frame() -> None:
    boxes = crowd(480, 640, 1)
    layout = Layout(colours_of(boxes))
    overlay(frame(480, 640), boxes, layout)
    before = dict(layout.labels)
    assert set(before) == {box.name for box in boxes}
    moved = [dataclasses.replace(it, box_xyxy_px=tuple(v + 3 for v in it.box_xyxy_px)) for it in boxes]
    overlay(frame(480, 640), moved, layout)
    assert sum(before[name] == pytest.approx(layout.labels[name]) for name in before) >= 8


def test_the_caption_of_a_cine_stays_where_it_was_when_tissue_comes_below_it() -> None:
    layout, still, moved = Layout({}), frame(480, 640), frame(480, 640)
    overlay(still, s.findings(FRAME)[:1], layout)
    before = layout.caption
    assert before is not None
    x0, y0, x1, y1 = map(int, before.box)
    moved.pixels[y0:y1, x0:x1] = 90
    overlay(moved, s.findings(FRAME)[:1], layout)
    assert layout.caption == before


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
    assert in_colour(drawn, WARNING)


def test_a_heat_map_says_what_a_reader_has_to_know_before_believing_it() -> None:
    *_, of_heat = s.anomaly(FRAME)
    answer = dataclasses.replace(s.anomaly(FRAME)[0], caveat="learned from simulated images")
    assert of_heat.explains(answer)
    assert not of_heat.explains(dataclasses.replace(answer, task="another"))
    assert not of_heat.explains(dataclasses.replace(answer, value=s.NO_ANOMALY))
    assert not of_heat.explains(dataclasses.replace(answer, frames=()))
    plain, remarked = heat_overlay(frame(480, 640), of_heat), heat_overlay(frame(480, 640), of_heat, remarks([answer]))
    assert [words for words, _ in remarks([answer])] == ["(learned from simulated images)"]
    assert (remarked != plain).any()


@pytest.mark.parametrize("values", [((0.0, 1.0), (0.5,)), ((),), ((1.2,),), ((float("nan"),),)])
def test_a_heat_map_has_whole_rows_of_values_from_0_to_1(values: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="a heat map has"):
        heat_map(*values)
