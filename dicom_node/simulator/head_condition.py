"""Sizes of the nine first-trimester structures in millimetres, and whether a size is normal, borderline or abnormal.

Where the limits come from:
- nuchal translucency: 3.5 mm is the 99th centile at every crown-rump length; the 95th rises from 2.1 to 2.7 mm between
  45 and 84 mm (Snijders et al., Lancet 352:343, 1998), so borderline begins at 2.5 mm
- nasal bone: absent, or shorter than about the 5th centile at 11 to 13 weeks (after Sonek et al., Ultrasound Obstet
  Gynecol 22:11, 2003), rounded
- palate: a gap in the maxilla above 1.5 mm goes with a cleft, smaller ones are found in normal fetuses too (Chaoui et
  al., Ultrasound Obstet Gynecol 46:665, 2015)
- fourth ventricle (intracranial translucency) and cisterna magna: small or gone in open spina bifida (Chaoui et al.,
  Ultrasound Obstet Gynecol 34:249, 2009); the numbers here are this simulator's own
- thalami, midbrain, nasal skin and nasal tip: no published limits known to the authors; the numbers are its own
They are the truth of simulated pictures and must not be used to judge a fetus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

Category = Literal["normal", "borderline", "abnormal"]
Range = tuple[float, float]  #: millimetres

CATEGORY_SHARES: dict[Category, float] = {"normal": 0.55, "borderline": 0.2, "abnormal": 0.25}
THALAMI_WIDTH_MM = (5.6, 6.9)  #: from 11 to 14 weeks, so that the head is 23 to 28 mm long


@dataclass(frozen=True, slots=True)
class Limits:
    """What is measured on a structure, and which sizes are abnormal or borderline; the rest are normal.

    `drawn` are the ranges that the simulator draws from, with some room between the categories.
    """

    measure: str
    abnormal: tuple[Range, ...]
    borderline: tuple[Range, ...]
    drawn: dict[Category, tuple[Range, ...]]
    absent_share: float = 0.0  #: of the abnormal ones, those that are not there at all

    def category(self, size_mm: float | None) -> Category:
        """Category of a size; None is a structure that is not there."""
        if size_mm is None or _within(size_mm, self.abnormal):
            return "abnormal"
        return "borderline" if _within(size_mm, self.borderline) else "normal"


def _within(size_mm: float, ranges: tuple[Range, ...]) -> bool:
    return any(low <= size_mm < high for low, high in ranges)


def _at_least(borderline_mm: float, abnormal_mm: float, drawn: tuple[Range, Range, Range], measure: str) -> Limits:
    """Limits of a structure that is abnormal when large; `drawn` for normal, borderline, abnormal."""
    ranges: dict[Category, tuple[Range, ...]] = {
        "normal": (drawn[0],),
        "borderline": (drawn[1],),
        "abnormal": (drawn[2],),
    }
    return Limits(measure, ((abnormal_mm, 99.0),), ((borderline_mm, abnormal_mm),), ranges)


def _below(
    borderline_mm: float, abnormal_mm: float, drawn: tuple[Range, Range, Range], measure: str, absent: float = 0.0
) -> Limits:
    """Limits of a structure that is abnormal when small; `drawn` for normal, borderline, abnormal."""
    ranges: dict[Category, tuple[Range, ...]] = {
        "normal": (drawn[0],),
        "borderline": (drawn[1],),
        "abnormal": (drawn[2],),
    }
    return Limits(measure, ((0.0, abnormal_mm),), ((abnormal_mm, borderline_mm),), ranges, absent)


LIMITS: dict[str, Limits] = {
    "thalami": _below(4.2, 3.3, ((4.4, 5.4), (3.4, 4.1), (2.2, 3.2)), "height"),
    "midbrain": _below(4.9, 3.9, ((5.2, 6.8), (4.0, 4.7), (2.6, 3.7)), "height"),
    "palate": _at_least(0.5, 1.5, ((0.0, 0.0), (0.7, 1.4), (1.7, 3.0)), "gap"),
    "fourth_ventricle": _below(1.0, 0.6, ((1.1, 1.9), (0.65, 0.9), (0.25, 0.5)), "opening", absent=0.5),
    "cisterna_magna": Limits(
        "opening",
        abnormal=((0.0, 0.5), (2.3, 99.0)),
        borderline=((0.5, 0.8), (1.8, 2.3)),
        drawn={
            "normal": ((0.9, 1.6),),
            "borderline": ((0.55, 0.72), (1.85, 2.2)),
            "abnormal": ((0.2, 0.42), (2.4, 3.0)),
        },
        absent_share=0.25,
    ),
    "nuchal_translucency": _at_least(2.5, 3.5, ((0.9, 2.2), (2.6, 3.3), (3.6, 6.0)), "thickness"),
    "nasal_tip": _below(1.5, 1.0, ((1.6, 2.6), (1.1, 1.4), (0.6, 0.9)), "length", absent=0.3),
    "nasal_skin": _at_least(0.9, 1.3, ((0.5, 0.8), (0.95, 1.2), (1.4, 2.0)), "thickness"),
    "nasal_bone": _below(2.0, 1.5, ((2.1, 3.4), (1.6, 1.9), (0.7, 1.35)), "length", absent=0.5),
}


@dataclass(frozen=True, slots=True)
class HeadCondition:
    """The sizes that a head is drawn with; a structure with size None is not there."""

    thalami_width_mm: float
    sizes_mm: dict[str, float | None]

    @property
    def categories(self) -> dict[str, Category]:
        """Category of each structure, from its size alone."""
        return {name: LIMITS[name].category(size) for name, size in self.sizes_mm.items()}

    def units(self, name: str) -> float:
        """Size of a structure that is there, in units of the thalami's width."""
        size = self.sizes_mm[name]
        if size is None:
            raise KeyError(name)
        return size / self.thalami_width_mm

    def lacks(self, name: str) -> bool:
        """Whether a structure is absent."""
        return self.sizes_mm[name] is None


def draw_condition(rng: Generator) -> HeadCondition:
    """Draw the category of each structure on its own, then a size within it."""
    width_mm = float(rng.uniform(*THALAMI_WIDTH_MM))
    return HeadCondition(width_mm, {name: _draw_size(rng, limits) for name, limits in LIMITS.items()})


def _draw_size(rng: Generator, limits: Limits) -> float | None:
    names = list(CATEGORY_SHARES)
    category = names[int(rng.choice(len(names), p=list(CATEGORY_SHARES.values())))]
    if rng.random() < limits.absent_share and category == "abnormal":
        return None
    ranges = limits.drawn[category]
    return float(rng.uniform(*ranges[int(rng.integers(len(ranges)))]))
