"""Drawing a heat map over its picture: colour where the network looked, a legend, and what it is not.

Cool tissue stays as it is: only what spoke for the class is tinted, the more the stronger, and never opaque.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import HeatMap
from dicom_node.domain.frame import Frame
from dicom_node.results.caption import BANNER, TEXT, WARNING, Line
from dicom_node.results.ground import ground_of
from dicom_node.results.labels import Page
from dicom_node.results.lettering import Picture
from dicom_node.results.render import Style

_MOST_OPAQUE = 0.6
_LEGEND_STEPS = 64
_HOT = 0.5  #: where the words that explain the heat should rather not stand


def heat_overlay(frame: Frame, heat_map: HeatMap, remarks: Sequence[Line] = ()) -> Picture:
    """Draw a heat map over its frame; gives a new picture of the same shape, RGB uint8.

    :param remarks: what a reader has to know before believing the answer.
    """
    rows, columns = frame.pixels.shape[:2]
    values = np.array(heat_map.values, dtype=np.float32)
    spread = np.asarray(cv2.resize(values, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    opacity = (_MOST_OPAQUE * spread)[:, :, np.newaxis]
    picture = np.rint((1 - opacity) * frame.pixels + opacity * _coloured(spread)).astype(np.uint8)
    style = Style.of(picture)
    legend = _draw_legend(picture, style)
    page = Page(picture, ground_of(frame.pixels, style.font_px), spread > _HOT, [legend], style.font_px)
    page.write_banner(BANNER, WARNING)
    page.write_label("most", (legend[0], legend[1], legend[2], legend[1] + 1), TEXT)
    page.write_label("least", (legend[0], legend[3] - 1, legend[2], legend[3]), TEXT)
    page.write_block(
        [
            (f"{heat_map.value.meaning}  {100 * heat_map.probability:.0f} % in this frame", TEXT),
            (f"{heat_map.method}: what spoke for it, not an outline of anything", TEXT),
            *remarks,
        ]
    )
    return page.picture


def _coloured(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Give the colours (..., 3), RGB 0..255, of values 0..1: from violet to yellow, ever brighter."""
    steps = np.rint(255 * values).astype(np.uint8)
    bgr = cv2.applyColorMap(steps, cv2.COLORMAP_PLASMA)
    return np.asarray(bgr[:, :, ::-1], dtype=np.float64)


def _draw_legend(picture: Picture, style: Style) -> tuple[float, float, float, float]:
    """Draw the scale of colours as a bar at the right edge, in place, and give its box."""
    rows, columns = picture.shape[:2]
    width, height = max(style.font_px // 2, 2), max(rows // 4, 2)
    x0, y0 = max(columns - 2 * width, 0), (rows - height) // 2
    scale = np.linspace(1.0, 0.0, _LEGEND_STEPS, dtype=np.float32)[:, np.newaxis]
    bar = cv2.resize(_coloured(scale), (width, height), interpolation=cv2.INTER_LINEAR)
    place = picture[y0 : y0 + height, x0 : x0 + width]
    place[:] = np.rint(bar[: place.shape[0], : place.shape[1]]).astype(np.uint8)
    return float(x0), float(y0), float(x0 + width), float(y0 + height)
