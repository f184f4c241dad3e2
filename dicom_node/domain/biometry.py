"""What follows from measured sizes: age, weight and growth, each by a published equation, or the reason why not.

All functions are pure. Ages are menstrual (gestational) ages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from statistics import fmean
from typing import Literal

from dicom_node.domain.biometry_equations import (
    AGE_BY_LMP,
    AGE_RANGE_WEEKS,
    AGES,
    COMPOSITE_AGES,
    ESTIMATED_WEIGHT,
    GROWTH_RANGE_WEEKS,
    GROWTHS,
    HADLOCK_1991,
    RATIOS,
    WEIGHT_GROWTH,
    WEIGHT_GROWTH_RANGE_WEEKS,
    WEIGHTS,
    Equation,
    percentile,
    weight_z_score,
)
from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Finding, Measurement, NotAssessable
from dicom_node.domain.frame import FrameReference

DAYS_PER_WEEK = 7
PREGNANCY_DAYS = 280  #: from the last menstrual period to the expected date of delivery
#: What an age and a size of a fetus can be; anything else is an error, whoever made it.
POSSIBLE_DAYS = (1, 44 * DAYS_PER_WEEK)
POSSIBLE_MM = (0.1, 600.0)
DISAGREEMENT = 0.15  #: of the mean: frames further apart than this show two fetuses, or an error

#: Sizes that the node measures otherwise than Hadlock did. A BPD from outer to outer edge is about a skull's thickness
#: longer than his; an age from it would be too high by up to a week.
MEASURED_OTHERWISE = {"BPD": "the BPD is measured outer to outer; Hadlock and most sonographers go outer to inner"}

GESTATIONAL_AGE = Concept("18185-9", "LN", "Gestational Age")
WEIGHT_PERCENTILE = Concept("11767-1", "LN", "EFW percentile rank")


@dataclass(frozen=True, slots=True)
class Size:
    """One quantity of one fetus: the mean of what its frames gave, in millimetres."""

    name: str
    value_mm: float
    measurements: tuple[Measurement, ...]

    @property
    def values_mm(self) -> tuple[float, ...]:
        """What each frame gave."""
        return tuple(measurement.value for measurement in self.measurements)

    @property
    def frames(self) -> tuple[FrameReference, ...]:
        """The frames that it was measured on."""
        return tuple(measurement.frame for measurement in self.measurements)


@dataclass(frozen=True, slots=True)
class Derived:
    """A number that follows from sizes. ``unit`` is a UCUM code: ``d``, ``g``, ``1`` or ``{percentile}``.

    ``concept`` says what it is, ``equation`` how it was computed (PS3.16 CID 12013 to 12016; None for a plain ratio),
    ``sizes`` from which sizes. ``z_score`` comes with a percentile.
    """

    name: str
    concept: Concept
    value: float
    unit: Literal["d", "g", "1", "{percentile}"]
    equation: Concept | None
    source: str | None
    sizes: tuple[str, ...]
    z_score: float | None = None


@dataclass(frozen=True, slots=True)
class NotDerived:
    """A number that would have been given, and why it is not. ``sizes`` are those that it would have followed from."""

    name: str
    concept: Concept
    reason: str
    sizes: tuple[str, ...] = ()


Derivation = Derived | NotDerived


def sizes_of(findings: Iterable[Finding]) -> dict[str, Size]:
    """Choose one value per quantity: the mean over the frames that were measured in millimetres.

    A quantity in pixels has no value. One whose frames disagree (see :data:`DISAGREEMENT`), or give what no fetus has,
    has none either; :func:`left_out` names it.
    """
    return {name: size for name, size in _gathered(findings).items() if _why_left_out(size) is None}


def left_out(findings: Iterable[Finding]) -> dict[str, str]:
    """Say of each quantity in millimetres that has no value why not."""
    reasons = {name: _why_left_out(size) for name, size in _gathered(findings).items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def derive(sizes_mm: Mapping[str, float], age_by_dates_days: int | None = None) -> list[Derivation]:
    """Give every age, weight, growth percentile and ratio that the sizes (HC, BPD, OFD, AC, FL; mm) allow.

    Nothing is said of an equation whose sizes were not measured. Growth is told only against an age by dates
    (:func:`age_by_dates`): against the age from the same sizes it would always look normal.
    """
    sizes = dict(sizes_mm)
    composite = _first_possible(COMPOSITE_AGES, sizes)
    weight = _first_possible(WEIGHTS, sizes)
    said = [_age(equation, sizes) for equation in AGES if _measured(equation.sizes, sizes)]
    if composite:
        said.append(_age(composite, sizes))
    if weight:
        said.append(_weight(weight, sizes))
    said += [
        _ratio(concept, first, second, sizes) for concept, first, second in RATIOS if {first, second} <= set(sizes)
    ]
    if age_by_dates_days is not None:
        said += _growth(sizes, age_by_dates_days, next((s for s in said if s.concept == ESTIMATED_WEIGHT), None))
    return said


def age_by_dates(
    on: date | None,
    last_menstrual_period: date | None,
    expected_delivery: date | None = None,
    stated_days: float | None = None,
) -> Derivation:
    """Give the age (days) on a day by the first day of the last menstrual period, or by the expected day of delivery.

    The expected day is 280 days after that first day (Naegele's rule); it wins where both are known, because it is
    what a clinic corrects after an early scan. ``stated_days`` is what somebody else computed from dates, for want of
    the dates themselves.
    """
    name = "GA by dates"
    concept, source = AGE_BY_LMP, None
    days: float
    if on is not None and expected_delivery is not None:
        concept, source = GESTATIONAL_AGE, "by the expected day of delivery (EDD)"
        days = PREGNANCY_DAYS - (expected_delivery - on).days
    elif on is not None and last_menstrual_period is not None:
        days = (on - last_menstrual_period).days
    elif stated_days is not None:
        days = stated_days
    else:
        return NotDerived(name, AGE_BY_LMP, "neither the last menstrual period nor the day of delivery is known")
    if not POSSIBLE_DAYS[0] <= days <= POSSIBLE_DAYS[1]:
        return NotDerived(name, concept, f"the dates give an age of {days:g} days, which no pregnancy has")
    return Derived(name, concept, float(days), "d", None, source, ())


def weeks_and_days(days: float) -> str:
    """Write an age as people say it: ``20 w 3 d``."""
    weeks, rest = divmod(round(days), DAYS_PER_WEEK)
    return f"{weeks} w {rest} d"


def _gathered(findings: Iterable[Finding]) -> dict[str, Size]:
    measured: dict[str, list[Measurement]] = {}
    for finding in findings:
        if isinstance(finding, Measurement) and finding.unit == "mm":
            measured.setdefault(finding.name, []).append(finding)
    return {name: Size(name, fmean(m.value for m in found), tuple(found)) for name, found in measured.items()}


def believable(finding: Finding) -> Finding:
    """Give a finding as it is, or that it is not assessable: a size that no fetus has is an error, whoever made it."""
    if not isinstance(finding, Measurement) or finding.unit != "mm":
        return finding
    if POSSIBLE_MM[0] <= finding.value <= POSSIBLE_MM[1]:
        return finding
    return NotAssessable(finding.task, finding.frame, finding.name, f"{finding.value:.1f} mm is no size of a fetus")


def _why_left_out(size: Size) -> str | None:
    low, high = min(size.values_mm), max(size.values_mm)
    if high - low > DISAGREEMENT * size.value_mm:
        return f"the frames disagree: {low:.0f} to {high:.0f} mm"
    return None


def _measured(names: tuple[str, ...], sizes: Mapping[str, float]) -> bool:
    return set(names) <= set(sizes)


def _first_possible(equations: tuple[Equation, ...], sizes: Mapping[str, float]) -> Equation | None:
    """Choose the first equation whose sizes are there and measured as it wants them."""
    return next(
        (e for e in equations if _measured(e.sizes, sizes) and not set(e.sizes) & set(MEASURED_OTHERWISE)), None
    )


def _age(equation: Equation, sizes: dict[str, float]) -> Derivation:
    name = f"GA from {', '.join(equation.sizes)}"
    concept = GESTATIONAL_AGE if len(equation.sizes) == 1 else equation.concept
    for size in equation.sizes:
        if size in MEASURED_OTHERWISE:
            return NotDerived(name, concept, MEASURED_OTHERWISE[size], equation.sizes)
    weeks = equation(sizes)
    if not AGE_RANGE_WEEKS[0] <= weeks <= AGE_RANGE_WEEKS[1]:
        return NotDerived(name, concept, f"{weeks:.1f} weeks is {_outside(AGE_RANGE_WEEKS)}", equation.sizes)
    return Derived(name, concept, weeks * DAYS_PER_WEEK, "d", equation.concept, equation.source, equation.sizes)


def _weight(equation: Equation, sizes: dict[str, float]) -> Derivation:
    """Estimate the weight where each size is one of a fetus of 14 to 42 weeks.

    The article gives no range of its own; outside that of the sizes nobody can say what the weight means.
    """
    for one in AGES:
        (name,) = one.sizes
        if name in equation.sizes and not AGE_RANGE_WEEKS[0] <= one(sizes) <= AGE_RANGE_WEEKS[1]:
            reason = f"the {name} is that of {one(sizes):.1f} weeks, {_outside(AGE_RANGE_WEEKS)}"
            return NotDerived("EFW", ESTIMATED_WEIGHT, reason, equation.sizes)
    return Derived("EFW", ESTIMATED_WEIGHT, equation(sizes), "g", equation.concept, equation.source, equation.sizes)


def _growth(sizes: Mapping[str, float], age_days: int, weight: Derivation | None) -> list[Derivation]:
    weeks = age_days / DAYS_PER_WEEK
    said: list[Derivation] = []
    for growth in GROWTHS:
        if growth.size not in sizes:
            continue
        name = f"{growth.size} percentile"
        if growth.size in MEASURED_OTHERWISE:
            said.append(NotDerived(name, growth.concept, MEASURED_OTHERWISE[growth.size], (growth.size,)))
        elif not GROWTH_RANGE_WEEKS[0] <= weeks <= GROWTH_RANGE_WEEKS[1]:
            reason = f"{weeks:.1f} weeks is {_outside(GROWTH_RANGE_WEEKS)}"
            said.append(NotDerived(name, growth.concept, reason, (growth.size,)))
        else:
            z = growth.z_score(sizes[growth.size], weeks)
            percent, code = percentile(z), growth.concept
            said.append(Derived(name, code, percent, "{percentile}", code, growth.source, (growth.size,), z))
    if isinstance(weight, Derived):
        said.append(_weight_growth(weight, weeks))
    return said


def _weight_growth(weight: Derived, weeks: float) -> Derivation:
    low, high = WEIGHT_GROWTH_RANGE_WEEKS
    if not low <= weeks <= high:
        reason = f"{weeks:.1f} weeks is {_outside(WEIGHT_GROWTH_RANGE_WEEKS)}"
        return NotDerived("EFW percentile", WEIGHT_PERCENTILE, reason, weight.sizes)
    z = weight_z_score(weight.value, weeks)
    return Derived(
        "EFW percentile", WEIGHT_PERCENTILE, percentile(z), "{percentile}", WEIGHT_GROWTH, HADLOCK_1991, weight.sizes, z
    )


def _ratio(concept: Concept, first: str, second: str, sizes: Mapping[str, float]) -> Derivation:
    if "BPD" in {first, second} and "OFD" not in {first, second}:
        return NotDerived(concept.meaning, concept, MEASURED_OTHERWISE["BPD"], (first, second))
    return Derived(concept.meaning, concept, sizes[first] / sizes[second], "1", None, None, (first, second))


def _outside(range_weeks: tuple[float, float]) -> str:
    return f"outside the {range_weeks[0]:g} to {range_weeks[1]:g} weeks that the equation was made for"
