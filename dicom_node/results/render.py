"""Drawing findings over a picture so that a sonographer sees at once what was found, and where.

Scanner habits are kept: dotted lines and callipers on the anatomy, values in a block in an empty corner, nothing solid
over the anatomy. The geometry of the source is kept too, so the overlay can be flicked against it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Detection, Finding, Measurement, Segmentation
from dicom_node.domain.frame import Frame, Region
from dicom_node.results.caption import BANNER, TEXT, WARNING, Line, caption, label_of
from dicom_node.results.ground import ground_of
from dicom_node.results.labels import Block, Box, Mask, Page
from dicom_node.results.lettering import Colour, Picture, write

#: Told apart on black and on grey, also by colour-blind readers (after Okabe and Ito, lightened).
_PALETTE: tuple[Colour, ...] = (
    (255, 190, 60), (110, 200, 255), (60, 220, 160), (255, 240, 90), (90, 150, 255), (255, 130, 80), (240, 150, 210),
    (190, 240, 120), (200, 170, 255), (255, 170, 160), (120, 240, 240), (225, 205, 165),
)  # fmt: skip
_MEASURED: tuple[Colour, ...] = ((255, 225, 70), (110, 215, 255), (255, 165, 90), (150, 240, 150))
_SUBPIXEL = 4  # OpenCV draws with 2**4 steps per pixel
_BAR_LENGTHS_MM = (1, 2, 5, 10, 20, 50, 100)
_BAR_SHARE = 0.2  #: of the width of its region, at most

_Points = npt.NDArray[np.floating]  # (n, 2): x, y


@dataclass(frozen=True, slots=True)
class Style:
    """Sizes that follow the picture's: the same look on 320 x 240 and on 1920 x 1080."""

    font_px: int
    line_px: int

    @classmethod
    def of(cls, picture: Picture) -> Style:
        """Give the sizes for a picture."""
        side = min(picture.shape[:2])
        return cls(font_px=int(np.clip(side / 36, 11, 28)), line_px=1 if side < 700 else 2)  # noqa: PLR2004

    @property
    def arm_px(self) -> float:
        """The half length of a calliper."""
        return self.font_px * 0.5


@dataclass(slots=True)
class Layout:
    """What stays the same from frame to frame of a cine: the colours, and where the text stands.

    :ivar labels: where a structure's label begins, from the upper left corner of its box.
    """

    colours: dict[str, Colour]
    labels: dict[str, tuple[float, float]] = field(default_factory=dict)
    banner: Block | None = None
    caption: Block | None = None
    scale: Box | None = None


def overlay(frame: Frame, findings: Sequence[Finding], layout: Layout | None = None) -> Picture:
    """Draw the findings of a frame over its pixels; gives a new picture of the same shape, RGB uint8.

    :param layout: of the frame before, and then of this one.
    """
    layout = layout or Layout(colours_of(findings))
    picture, colours = frame.pixels.copy(), layout.colours
    style = Style.of(picture)
    draw_shapes(picture, findings, style, colours)

    ground = ground_of(frame.pixels, style.font_px)
    page = Page(picture, ground, covered(findings, picture), untouchable(findings, style), style.font_px)
    layout.banner = page.write_banner(BANNER, WARNING, layout.banner)
    layout.caption = page.write_block([*caption(findings, colours), *_position(frame)], layout.caption)
    unplaced = [
        (label_of(finding), colours[finding.name])
        for finding in findings
        if isinstance(finding, Detection) and not _write_label(page, finding, layout)
    ]
    page.write_block(unplaced)
    layout.scale = _draw_scale(page, frame, style, layout.scale)
    return page.picture


def _write_label(page: Page, finding: Detection, layout: Layout) -> bool:
    """Name a box, where its label stood before if it can; False when the picture has no room for it."""
    x0, y0, x1, y1 = finding.box_xyxy_px
    before = layout.labels.get(finding.name)
    prefer = (x0 + before[0], y0 + before[1], x1, y1) if before else None
    box = page.write_label(label_of(finding), finding.box_xyxy_px, layout.colours[finding.name], prefer)
    if box is None:
        return False
    layout.labels[finding.name] = (box[0] - x0, box[1] - y0)
    return True


def draw_shapes(picture: Picture, findings: Sequence[Finding], style: Style, colours: dict[str, Colour]) -> None:
    """Draw boxes, outlines, measured lines and callipers, in place and without a word."""
    ordered = [finding for finding in sorted(findings, key=_outlines_first) if finding.name in colours]
    for finding in ordered:
        colour = colours[finding.name]
        match finding:
            case Detection():
                x0, y0, x1, y1 = finding.box_xyxy_px
                _polyline(picture, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], colour, style.line_px)
            case Segmentation():
                _faint(picture, finding.contour.points_px, colour)
            case Measurement():
                _dotted(picture, outline(finding), colour, style.line_px)
            case _:
                pass
    marked: list[tuple[float, float]] = []
    for finding in ordered:
        for end in calliper_points(finding) if isinstance(finding, Measurement) else ():
            if all(np.hypot(end[0] - x, end[1] - y) > 2 * style.arm_px for x, y in marked):
                _calliper(picture, end, colours[finding.name], style)
                marked.append(end)


def colours_of(findings: Sequence[Finding]) -> dict[str, Colour]:
    """Give each structure a colour, the same on every frame as far as the palette reaches, and each quantity one."""
    colours: dict[str, Colour] = {}
    for name in sorted({f.name for f in findings if isinstance(f, Detection | Segmentation)}):
        start = zlib.crc32(name.encode()) % len(_PALETTE)
        free = [_PALETTE[(start + step) % len(_PALETTE)] for step in range(len(_PALETTE))]
        colours[name] = next((c for c in free if c not in colours.values()), _PALETTE[start])
    measured = list(dict.fromkeys(f.name for f in findings if isinstance(f, Measurement)))
    return colours | {name: _MEASURED[place % len(_MEASURED)] for place, name in enumerate(measured)}


def outline(finding: Measurement | Segmentation) -> _Points:
    """Give the points of the line that is drawn for a shape: of an ellipse 181, of a polyline its own."""
    graphic = finding.graphic if isinstance(finding, Measurement) else finding.contour
    points = np.array(graphic.points_px)
    if graphic.kind == "polyline":
        return points
    centre = points.mean(axis=0)
    major, minor = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    angle = np.linspace(0, 2 * np.pi, 181)[:, np.newaxis]
    return np.asarray(centre + np.cos(angle) * major + np.sin(angle) * minor)


def calliper_points(finding: Measurement) -> list[tuple[float, float]]:
    """Give where the callipers stand: the ends of a measured line, or of both axes of an ellipse."""
    points = finding.graphic.points_px
    return list(points) if finding.graphic.kind == "ellipse" else [points[0], points[-1]]


def extent(finding: Finding) -> Box | None:
    """Give the box around what a finding draws."""
    match finding:
        case Detection():
            return finding.box_xyxy_px
        case Measurement() | Segmentation():
            points = outline(finding)
            (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
            return float(x0), float(y0), float(x1), float(y1)
        case _:
            return None


def covered(findings: Sequence[Finding], picture: Picture) -> Mask:
    """Give where boxes, outlined and measured shapes are, shape (rows, columns): what text should rather not hide."""
    mask = np.zeros(picture.shape[:2], dtype=np.uint8)
    for finding in findings:
        match finding:
            case Detection():
                x0, y0, x1, y1 = finding.box_xyxy_px
                cv2.fillPoly(mask, [_fixed([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])], 1, cv2.LINE_8, _SUBPIXEL)
            case Measurement() | Segmentation():
                cv2.fillPoly(mask, [_fixed(outline(finding))], 1, cv2.LINE_8, _SUBPIXEL)
            case _:
                pass
    return mask.astype(np.bool_)


def untouchable(findings: Sequence[Finding], style: Style) -> list[Box]:
    """List what no text may touch: named structures, measured lines and their callipers."""
    boxes: list[Box] = []
    for finding in findings:
        if isinstance(finding, Detection):
            boxes.append(finding.box_xyxy_px)
        elif isinstance(finding, Measurement):
            boxes += [_around(point, 2.0) for point in _spaced(outline(finding), 4.0)]
            boxes += [_around(point, style.arm_px + 1) for point in calliper_points(finding)]
    return boxes


def _position(frame: Frame) -> list[Line]:
    number = frame.reference.frame_number
    return [(f"frame {number}", TEXT)] if number is not None else []


def _outlines_first(finding: Finding) -> int:
    """Order shapes so that measured lines lie over outlines, and their callipers over those of an ellipse."""
    match finding:
        case Segmentation():
            return 0
        case Measurement() if finding.graphic.kind == "polyline":
            return 1
        case _:
            return 2


def _polyline(picture: Picture, points: Iterable[Sequence[float]], colour: Colour, line_px: int) -> None:
    """Draw an anti-aliased line over a thin dark one, so that it shows on bright tissue too."""
    fixed = _fixed(points)
    for ink, thickness in (((0, 0, 0), line_px + 2), (colour, line_px)):
        cv2.polylines(picture, [fixed], False, ink, thickness, cv2.LINE_AA, _SUBPIXEL)


def _faint(picture: Picture, points: Iterable[Sequence[float]], colour: Colour) -> None:
    """Draw an outline through which the edge of the structure can still be seen."""
    drawn = picture.copy()
    cv2.polylines(drawn, [_fixed(points)], True, colour, 1, cv2.LINE_AA, _SUBPIXEL)
    cv2.addWeighted(drawn, 0.6, picture, 0.4, 0.0, dst=picture)


def _dotted(picture: Picture, points: _Points, colour: Colour, line_px: int) -> None:
    """Draw a dotted line, as scanners do: it hides less of the edge that is measured."""
    for ink, radius in (((0, 0, 0), line_px * 0.6 + 0.7), (colour, line_px * 0.6 + 0.2)):
        for x, y in _fixed(_spaced(points, 6.0 * line_px)):
            centre, size = (int(x), int(y)), round(radius * (1 << _SUBPIXEL))
            cv2.circle(picture, centre, size, ink, -1, cv2.LINE_AA, _SUBPIXEL)


def _spaced(points: _Points, every_px: float) -> _Points:
    """Give points along a line, evenly spaced by about ``every_px``."""
    points = np.asarray(points, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    steps = np.linspace(0.0, along[-1], max(2, round(along[-1] / every_px) + 1))
    return np.stack([np.interp(steps, along, points[:, axis]) for axis in (0, 1)], axis=1)


def _calliper(picture: Picture, at: tuple[float, float], colour: Colour, style: Style) -> None:
    """Mark a measured point with a cross whose middle stays open, so that the point itself can be seen."""
    (x, y), arm, gap = at, style.arm_px, style.line_px
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        _polyline(picture, [(x + dx * gap, y + dy * gap), (x + dx * arm, y + dy * arm)], colour, style.line_px)


def _draw_scale(page: Page, frame: Frame, style: Style, prefer: Box | None) -> Box | None:
    """Draw a bar of a round number of millimetres into the largest calibrated region, where there is one."""
    if not frame.calibration.regions:
        return None
    region = max(frame.calibration.regions, key=_size)
    mm_per_px = region.mm_per_px_x
    fitting = [mm for mm in _BAR_LENGTHS_MM if mm / mm_per_px <= _BAR_SHARE * (region.x1 + 1 - region.x0)]
    if not fitting:
        return None
    length, margin = fitting[-1] / mm_per_px, 0.5 * style.font_px
    within = (region.x0 + margin, region.y0 + margin, region.x1 + 1 - margin, region.y1 + 1 - margin)
    place = page.reserve(max(length, 4.0 * style.font_px), 2.0 * style.font_px, within, prefer)
    if place is None:
        return None
    x, y, tick = place[0], place[3] - 0.4 * style.font_px, 0.25 * style.font_px
    for line in ([(x, y), (x + length, y)], *([(at, y - tick), (at, y + tick)] for at in (x, x + length))):
        _polyline(page.picture, line, TEXT, style.line_px)
    write(page.picture, (x, place[1] - 0.1 * style.font_px), f"{fitting[-1]} mm", TEXT, style.font_px)
    return place


def _size(region: Region) -> int:
    return (region.x1 - region.x0) * (region.y1 - region.y0)


def _around(point: Sequence[float], by: float) -> Box:
    return float(point[0] - by), float(point[1] - by), float(point[0] + by), float(point[1] + by)


def _fixed(points: Iterable[Sequence[float]]) -> npt.NDArray[np.int32]:
    """Give points as OpenCV's fixed-point numbers; its pixel centres are whole numbers, DICOM's are halves."""
    return np.rint((np.array(list(points), dtype=np.float64) - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)
