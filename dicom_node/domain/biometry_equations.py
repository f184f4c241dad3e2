"""Published equations of fetal biometry, as printed. Pure functions; lengths in millimetres at the border.

Hadlock 1984: Hadlock, Deter, Harrist, Park, "Estimating fetal age: computer-assisted analysis of multiple fetal growth
parameters", Radiology 152:497-501. 361 fetuses of 14 to 42 menstrual weeks; the ages of its table III end at 40.
Hadlock 1985: Hadlock, Harrist, Sharman, Deter, Park, "Estimation of fetal weight with the use of head, body, and femur
measurements", Am J Obstet Gynecol 151:333-337.
Hadlock 1991: Hadlock, Harrist, Martinez-Poyer, "In utero analysis of fetal growth: a sonographic weight standard",
Radiology 181:129-133. 392 fetuses; its table 1 has 10 to 40 weeks.

Codes: LOINC in PS3.16 CID 12013 (age), CID 12014 (weight), CID 12015 (growth by age).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from dicom_node.domain.concept import Concept

HADLOCK_1984 = "Hadlock et al., Radiology 152:497 (1984)"
HADLOCK_1985 = "Hadlock et al., Am J Obstet Gynecol 151:333 (1985)"
HADLOCK_1991 = "Hadlock et al., Radiology 181:129 (1991)"
AGE_RANGE_WEEKS = (14.0, 42.0)  #: of the fetuses of Hadlock 1984
GROWTH_RANGE_WEEKS = (14.0, 40.0)  #: where both the fetuses and table III of Hadlock 1984 are
WEIGHT_GROWTH_RANGE_WEEKS = (10.0, 40.0)  #: of table 1 of Hadlock 1991

#: Hadlock 1991 states its spread three times and differently (12.7 %, 13 %, 0.12 of the logarithm); its table 1 has the
#: 10th and 90th percentile 17 % from the mean, which is this share. The table is what readers hold in their hands.
WEIGHT_SPREAD = 0.17 / NormalDist().inv_cdf(0.9)

ULTRASOUND_AGE = Concept("11888-5", "LN", "Composite Ultrasound Age")
AGE_BY_LMP = Concept("11885-1", "LN", "Gestational Age by LMP")
ESTIMATED_WEIGHT = Concept("11727-5", "LN", "Estimated Weight")


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation over sizes in centimetres, given by name and in the order of ``sizes``.

    ``concept`` is the equation's own code, or that of its result where it has none.
    """

    concept: Concept
    source: str
    sizes: tuple[str, ...]
    of_cm: Callable[..., float]

    def __call__(self, sizes_mm: dict[str, float]) -> float:
        """Give the result for sizes in millimetres: weeks of an age equation, grams of a weight equation."""
        return self.of_cm(*(sizes_mm[name] / 10.0 for name in self.sizes))


@dataclass(frozen=True, slots=True)
class Growth:
    """The size (cm) that is expected at an age (weeks), and its standard deviation (cm), the same at every age."""

    concept: Concept
    source: str
    size: str
    mean_cm: Callable[[float], float]
    spread_cm: float

    def z_score(self, size_mm: float, age_weeks: float) -> float:
        """Say by how many standard deviations a size differs from the one expected."""
        return (size_mm / 10.0 - self.mean_cm(age_weeks)) / self.spread_cm


def _ln(code: str, meaning: str) -> Concept:
    return Concept(code, "LN", meaning)


#: Menstrual age in weeks from one size (Hadlock 1984).
AGES = (
    Equation(_ln("11932-1", "HC, Hadlock 1984"), HADLOCK_1984, ("HC",), lambda hc: 8.96 + 0.540 * hc + 0.0003 * hc**3),
    Equation(
        _ln("11902-4", "BPD, Hadlock 1984"), HADLOCK_1984, ("BPD",), lambda bpd: 9.54 + 1.482 * bpd + 0.1676 * bpd**2
    ),
    Equation(_ln("11892-7", "AC, Hadlock 1984"), HADLOCK_1984, ("AC",), lambda ac: 8.14 + 0.753 * ac + 0.0036 * ac**2),
    Equation(_ln("11920-6", "FL, Hadlock 1984"), HADLOCK_1984, ("FL",), lambda fl: 10.35 + 2.460 * fl + 0.170 * fl**2),
)

#: Menstrual age in weeks from several sizes (Hadlock 1984), the most complete first.
COMPOSITE_AGES = (
    Equation(
        ULTRASOUND_AGE,
        HADLOCK_1984,
        ("BPD", "HC", "AC", "FL"),
        lambda bpd, hc, ac, fl: 10.85 + 0.060 * hc * fl + 0.6700 * bpd + 0.1680 * ac,
    ),
    Equation(
        ULTRASOUND_AGE,
        HADLOCK_1984,
        ("HC", "AC", "FL"),
        lambda hc, ac, fl: 10.33 + 0.031 * hc * fl + 0.361 * hc + 0.0298 * ac * fl,
    ),
    Equation(ULTRASOUND_AGE, HADLOCK_1984, ("HC", "FL"), lambda hc, fl: 11.19 + 0.070 * hc * fl + 0.2630 * hc),
)

#: Weight in grams (Hadlock 1985), the most complete first.
WEIGHTS = (
    Equation(
        _ln("11732-5", "EFW by AC, BPD, FL, HC, Hadlock 1985"),
        HADLOCK_1985,
        ("AC", "BPD", "FL", "HC"),
        lambda ac, bpd, fl, hc: (
            10.0 ** (1.3596 - 0.00386 * ac * fl + 0.0064 * hc + 0.00061 * bpd * ac + 0.0424 * ac + 0.174 * fl)
        ),
    ),
    Equation(
        _ln("11746-5", "EFW by AC, FL, HC, Hadlock 1985"),
        HADLOCK_1985,
        ("AC", "FL", "HC"),
        lambda ac, fl, hc: 10.0 ** (1.326 - 0.00326 * ac * fl + 0.0107 * hc + 0.0438 * ac + 0.158 * fl),
    ),
    Equation(
        _ln("11735-8", "EFW by AC, BPD, FL, Hadlock 1985"),
        HADLOCK_1985,
        ("AC", "BPD", "FL"),
        lambda ac, bpd, fl: 10.0 ** (1.335 - 0.0034 * ac * fl + 0.0316 * bpd + 0.0457 * ac + 0.1623 * fl),
    ),
    Equation(
        _ln("11751-5", "EFW by AC, FL, Hadlock 1985"),
        HADLOCK_1985,
        ("AC", "FL"),
        lambda ac, fl: 10.0 ** (1.304 + 0.05281 * ac + 0.1938 * fl - 0.004 * ac * fl),
    ),
)

#: Size in centimetres expected at an age in weeks (Hadlock 1984, table III and its footnotes).
GROWTHS = (
    Growth(
        _ln("33173-6", "HC by GA, Hadlock 1984"),
        HADLOCK_1984,
        "HC",
        lambda age: -11.48 + 1.56 * age - 0.0002548 * age**3,
        1.0,
    ),
    Growth(
        _ln("33198-3", "BPD by GA, Hadlock 1984"),
        HADLOCK_1984,
        "BPD",
        lambda age: -3.08 + 0.41 * age - 0.000061 * age**3,
        0.3,
    ),
    Growth(
        _ln("33146-2", "AC by GA, Hadlock 1984"),
        HADLOCK_1984,
        "AC",
        lambda age: -13.3 + 1.61 * age - 0.00998 * age**2,
        1.34,
    ),
    Growth(
        _ln("33166-0", "FL by GA, Hadlock 1984"),
        HADLOCK_1984,
        "FL",
        lambda age: -3.91 + 0.427 * age - 0.0034 * age**2,
        0.3,
    ),
)

#: Ratios of two sizes (PS3.16 CID 12004): first to second.
RATIOS = (
    (_ln("11947-9", "HC/AC"), "HC", "AC"),
    (_ln("11871-1", "FL/AC"), "FL", "AC"),
    (_ln("11872-9", "FL/BPD"), "FL", "BPD"),
    (_ln("11873-7", "FL/HC"), "FL", "HC"),
    (_ln("11823-2", "Cephalic Index"), "BPD", "OFD"),
)


WEIGHT_GROWTH = Concept("128041", "DCM", "FWP by GA, Hadlock, 1991")


def expected_weight_g(age_weeks: float) -> float:
    """Give the mean weight at an age (Hadlock 1991)."""
    return math.exp(0.578 + 0.332 * age_weeks - 0.00354 * age_weeks**2)


def weight_z_score(weight_g: float, age_weeks: float) -> float:
    """Say by how many standard deviations a weight differs from the one expected (Hadlock 1991, table 1)."""
    return (weight_g / expected_weight_g(age_weeks) - 1.0) / WEIGHT_SPREAD


def percentile(z_score: float) -> float:
    """Give the share (0..100) of the normal distribution that lies below."""
    return 100.0 * NormalDist().cdf(z_score)
