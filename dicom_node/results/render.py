"""Drawing findings over a picture so that a sonographer sees at once what was found, and where.

Scanner habits are kept: boxes and callipers on the anatomy, values in a block in an empty corner, nothing solid over
the anatomy. The geometry of the source is kept too, so the overlay can be flicked against it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Classification, Detection, Finding, Measurement, NotAssessable, Segmentation
from dicom_node.domain.frame import Frame
from dicom_node.results.labels import Box, Colour, Line, Page, Picture

BANNER = "AI RESULT, NOT FOR MEASUREMENT, INVESTIGATIONAL"

#: Told apart on black and on grey, also by colour-blind readers (after Okabe and Ito, lightened).
_PALETTE: tuple[Colour, ...] = (
    (255, 190, 60), (110, 200, 255), (60, 220, 160), (255, 240, 90), (90, 150, 255), (255, 130, 80), (240, 150, 210),
    (190, 240, 120), (200, 170, 255), (255, 170, 160), (120, 240, 240), (225, 205, 165),
)  # fmt: skip
_MEASURED: Colour = (255, 225, 70)
TEXT: Colour = (235, 235, 235)
WARNING: Colour = (255, 120, 110)
_SUBPIXEL = 4  # OpenCV draws with 2**4 steps per pixel
_MIN_FONT_PX = 9


@dataclass(frozen=True, slots=True)
class Style:
    """Sizes that follow the picture's: the same look on 320 x 240 and on 1920 x 1080."""

    font_px: int
    line_px: int

    @classmethod
    def of(cls, picture: Picture) -> Style:
        """Give the sizes for a picture."""
        side = min(picture.shape[:2])
        return cls(font_px=int(np.clip(side / 38, _MIN_FONT_PX, 28)), line_px=1 if side < 700 else 2)  # noqa: PLR2004


def overlay(frame: Frame, findings: Sequence[Finding]) -> Picture:
    """Draw the findings of a frame over its pixels; gives a new picture of the same shape, RGB uint8."""
    picture = frame.pixels.copy()
    style = Style.of(picture)
    colours = _colours(findings)
    for finding in findings:
        _draw_shape(picture, finding, colours.get(finding.name, _MEASURED), style)

    shapes = [box for finding in findings if (box := _extent(finding)) is not None]
    named = [finding.box_xyxy_px for finding in findings if isinstance(finding, Detection)]
    page = Page(picture, shapes, named, style.font_px)
    page.write_banner(BANNER, WARNING)
    page.write_block(_value_lines(findings, colours))
    for finding in findings:
        if isinstance(finding, Detection):
            page.write_label(f"{_spoken(finding.name)} {finding.score:.2f}", finding.box_xyxy_px, colours[finding.name])
    return page.picture


def _colours(findings: Sequence[Finding]) -> dict[str, Colour]:
    """Give each structure a colour: the same on every frame as far as the palette reaches."""
    colours: dict[str, Colour] = {}
    for name in sorted({f.name for f in findings if isinstance(f, Detection | Segmentation)}):
        start = zlib.crc32(name.encode()) % len(_PALETTE)
        free = [_PALETTE[(start + step) % len(_PALETTE)] for step in range(len(_PALETTE))]
        colours[name] = next((c for c in free if c not in colours.values()), _PALETTE[start])
    return colours


def _draw_shape(picture: Picture, finding: Finding, colour: Colour, style: Style) -> None:
    match finding:
        case Detection():
            x0, y0, x1, y1 = finding.box_xyxy_px
            _polyline(picture, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], colour, style.line_px)
        case Segmentation():
            _polyline(picture, finding.contour.points_px, colour, style.line_px)
        case Measurement() if finding.graphic.kind == "ellipse":
            points = np.array(finding.graphic.points_px)  # (4, 2)
            _polyline(picture, _ellipse_outline(points), colour, style.line_px)
            _callipers(picture, points, colour, style)
        case Measurement():
            _dotted(picture, finding.graphic.points_px, colour)
            _callipers(picture, [finding.graphic.points_px[0], finding.graphic.points_px[-1]], colour, style)


def _ellipse_outline(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Give 181 points, (181, 2), of the ellipse with these axis ends, (4, 2)."""
    centre = points.mean(axis=0)
    major, minor = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    angle = np.linspace(0, 2 * np.pi, 181)[:, np.newaxis]
    return np.asarray(centre + np.cos(angle) * major + np.sin(angle) * minor)


def _polyline(picture: Picture, points: Iterable[Sequence[float]], colour: Colour, line_px: int) -> None:
    """Draw an anti-aliased line over a thin dark one, so that it shows on bright tissue too."""
    fixed = _fixed(points)
    cv2.polylines(picture, [fixed], isClosed=False, color=(0, 0, 0), thickness=line_px + 2, lineType=cv2.LINE_AA,
                  shift=_SUBPIXEL)  # fmt: skip
    cv2.polylines(picture, [fixed], isClosed=False, color=colour, thickness=line_px, lineType=cv2.LINE_AA,
                  shift=_SUBPIXEL)  # fmt: skip


def _dotted(picture: Picture, points: Sequence[Sequence[float]], colour: Colour) -> None:
    """Draw a dotted line, as callipers do: it hides less of the edge that is measured."""
    for start, end in pairwise(points):
        a, b = np.array(start), np.array(end)
        steps = max(2, int(np.hypot(*(b - a)) // 5))
        for at in np.linspace(a, b, steps):
            centre = _fixed([at])[0]
            cv2.circle(picture, (int(centre[0]), int(centre[1])), 12, colour, -1, cv2.LINE_AA, _SUBPIXEL)


def _callipers(picture: Picture, points: Iterable[Sequence[float]], colour: Colour, style: Style) -> None:
    """Mark measured points with crosses."""
    arm = style.font_px * 0.45
    for x, y in points:
        _polyline(picture, [(x - arm, y), (x + arm, y)], colour, style.line_px)
        _polyline(picture, [(x, y - arm), (x, y + arm)], colour, style.line_px)


def _fixed(points: Iterable[Sequence[float]]) -> npt.NDArray[np.int32]:
    """Give points as OpenCV's fixed-point numbers; its pixel centres are whole numbers, DICOM's are halves."""
    return np.rint((np.array(list(points), dtype=np.float64) - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)


def _extent(finding: Finding) -> Box | None:
    """Give the box around what a finding draws."""
    match finding:
        case Detection():
            return finding.box_xyxy_px
        case Measurement():
            points = np.array(finding.graphic.points_px)
            points = _ellipse_outline(points) if finding.graphic.kind == "ellipse" else points
        case Segmentation():
            points = np.array(finding.contour.points_px)
        case _:
            return None
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _value_lines(findings: Sequence[Finding], colours: dict[str, Colour]) -> list[Line]:
    """Write what has a value rather than a place: planes, classes, measurements, and what is not assessable."""
    lines: list[Line] = []
    for finding in findings:
        match finding:
            case Classification():
                probability = dict(finding.probabilities).get(finding.value)
                share = f"  {100 * probability:.0f} %" if probability is not None else ""
                over = f", over {len(finding.frames)} frames" if len(finding.frames) > 1 else ""
                about = f"{_spoken(finding.name)}  " if finding.site else ""
                lines.append((f"{about}{finding.value.meaning}{share}{over}", TEXT))
            case Measurement(unit="mm"):
                lines.append((f"{finding.name}  {finding.value:.1f} mm", _MEASURED))
            case Measurement():
                lines.append((f"{finding.name}  {finding.value:.0f} px, no scale", _MEASURED))
            case Segmentation():
                lines.append((f"{_spoken(finding.name)}  {finding.score:.2f}", colours[finding.name]))
            case NotAssessable():
                lines.append((f"{_spoken(finding.name)}  not assessable: {finding.reason}", TEXT))
    return lines


def _spoken(name: str) -> str:
    """Write a name as people say it."""
    return name.replace("_", " ")
