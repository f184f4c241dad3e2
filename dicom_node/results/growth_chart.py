"""Small growth charts: the curve that is expected, its 5th and 95th percentile, and the fetus as one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import cv2
import numpy as np

from dicom_node.domain.biometry import DAYS_PER_WEEK, Derivation, Derived
from dicom_node.domain.biometry_equations import GROWTH_RANGE_WEEKS, GROWTHS, WEIGHT_SPREAD, Growth, expected_weight_g
from dicom_node.results.lettering import Colour, Picture, width_of, write

_CURVES = (5, 50, 95)  #: percentiles
_GRID: Colour = (70, 76, 84)
_CURVE: Colour = (150, 170, 190)
_TEXT: Colour = (200, 205, 210)
_INSIDE: Colour = (255, 225, 70)
_OUTSIDE: Colour = (255, 130, 80)
_FONT_PX = 14
_SHOWN_WEEKS = 12.0
_LEFT_PX, _TOP_PX, _BOTTOM_PX = 44, 24, 22


@dataclass(frozen=True, slots=True)
class Chart:
    """One quantity against age: ``expected`` gives its value at an age (weeks) and a z-score."""

    name: str
    unit: str
    age_weeks: float
    value: float
    percentile: float
    expected: Callable[[float, float], float]


def charts_of(derivations: Sequence[Derivation], sizes_mm: dict[str, float], age_days: float) -> list[Chart]:
    """Give a chart for each size and weight whose percentile is known, in the order of the tables."""
    weeks = age_days / DAYS_PER_WEEK
    percentiles = {it.name: it.value for it in derivations if isinstance(it, Derived) and it.unit == "{percentile}"}
    charts = [
        Chart(name, "mm", weeks, sizes_mm[name], percentiles[f"{name} percentile"], partial(_expected_mm, growth))
        for growth in GROWTHS
        if f"{(name := growth.size)} percentile" in percentiles
    ]
    weight = next((it.value for it in derivations if isinstance(it, Derived) and it.name == "EFW"), None)
    if weight is not None and "EFW percentile" in percentiles:
        charts.append(Chart("EFW", "g", weeks, weight, percentiles["EFW percentile"], _expected_g))
    return charts


def _expected_mm(growth: Growth, age_weeks: float, z_score: float) -> float:
    return 10.0 * (growth.mean_cm(age_weeks) + z_score * growth.spread_cm)


def _expected_g(age_weeks: float, z_score: float) -> float:
    return expected_weight_g(age_weeks) * (1.0 + z_score * WEIGHT_SPREAD)


def draw_chart(picture: Picture, chart: Chart, at: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """Draw a chart of the weeks around the age into a picture, its upper left corner ``at`` (x, y).

    :returns: where the point of the fetus lies (x, y).
    """
    first, last = _weeks_around(chart.age_weeks)
    ages = np.linspace(first, last, 49)
    scores = [NormalDist().inv_cdf(percent / 100) for percent in _CURVES]
    curves = [[chart.expected(float(age), score) for age in ages] for score in scores]
    low, high = 0.95 * min(*curves[0], chart.value), 1.05 * max(*curves[-1], chart.value)
    left, right = at[0] + _LEFT_PX, at[0] + size[0] - 12
    upper, lower = at[1] + _TOP_PX, at[1] + size[1] - _BOTTOM_PX

    def place(age: float, value: float) -> tuple[float, float]:
        return (
            left + (age - first) / (last - first) * (right - left),
            lower - (value - low) / (high - low) * (lower - upper),
        )

    cv2.rectangle(picture, (left, upper), (right, lower), _GRID, 1)
    for age in range(int(np.ceil(first)), int(last) + 1, 4):
        x = place(age, low)[0]
        cv2.line(picture, (round(x), upper), (round(x), lower), _GRID, 1)
        _write(picture, (x - width_of(f"{age} w", _FONT_PX) / 2, lower + 3), f"{age} w")
    for value in _round_values(low, high):
        y = place(first, value)[1]
        cv2.line(picture, (left, round(y)), (right, round(y)), _GRID, 1)
        _write(picture, (left - 6 - width_of(f"{value:g}", _FONT_PX), y - 9), f"{value:g}")
    for percent, curve in zip(_CURVES, curves, strict=True):
        points = np.array([place(float(age), value) for age, value in zip(ages, curve, strict=True)])
        fixed = np.rint(points * 16).astype(np.int32)
        cv2.polylines(picture, [fixed], False, _CURVE, 2 if percent == 50 else 1, cv2.LINE_AA, 4)  # noqa: PLR2004
    colour = _INSIDE if _CURVES[0] <= chart.percentile <= _CURVES[-1] else _OUTSIDE
    title = f"{chart.name}, {chart.unit}: {percentile_words(chart.percentile)}"
    write(picture, (at[0] + 4, at[1]), title, colour, 16, rimmed=False)
    point = place(chart.age_weeks, chart.value)
    centre = (round(16 * point[0]), round(16 * point[1]))
    cv2.circle(picture, centre, 16 * 7, (0, 0, 0), -1, cv2.LINE_AA, 4)
    cv2.circle(picture, centre, 16 * 5, colour, -1, cv2.LINE_AA, 4)
    return point


def _write(picture: Picture, at: tuple[float, float], text: str) -> None:
    write(picture, at, text, _TEXT, _FONT_PX, rimmed=False)


def _weeks_around(age_weeks: float) -> tuple[float, float]:
    """Choose the weeks that a chart shows: near the age, where a curve and its neighbours can be told apart."""
    low, high = GROWTH_RANGE_WEEKS
    first = min(max(age_weeks - _SHOWN_WEEKS / 2, low), high - _SHOWN_WEEKS)
    return first, first + _SHOWN_WEEKS


def percentile_words(percent: float) -> str:
    """Write a percentile rank as people say it; beyond the 1st and the 99th no equation can tell."""
    if percent < 1:
        return "< 1st percentile"
    if percent > 99:  # noqa: PLR2004
        return "> 99th percentile"
    rank = round(percent)
    teen = 10 <= rank % 100 <= 20  # noqa: PLR2004
    ending = {1: "st", 2: "nd", 3: "rd"}.get(0 if teen else rank % 10, "th")
    return f"{rank}{ending} percentile"


def _round_values(low: float, high: float) -> list[float]:
    """Choose two to four round values between two."""
    magnitude = 10.0 ** np.floor(np.log10(high - low))
    step = next(step for step in (0.25, 0.5, 1.0, 2.0, 2.5) if (high - low) / (step * magnitude) < 4) * magnitude  # noqa: PLR2004
    return [float(step * count) for count in range(int(np.ceil(low / step)), int(high / step) + 1)]
