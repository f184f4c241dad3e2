"""Median fetal sizes by gestational age, to give phantoms plausible millimetres (never to assess a fetus).

Papageorghiou et al., International standards for fetal growth, Lancet 384:869 (2014), equations of the medians;
weeks are exact gestational weeks, results in millimetres, stated for 14 to 40 weeks.
"""

from __future__ import annotations

import numpy as np


def head_circumference_mm(weeks: float) -> float:
    """Median HC."""
    return float(-28.2849 + 1.69267 * weeks**2 - 0.397485 * weeks**2 * np.log(weeks))


def abdominal_circumference_mm(weeks: float) -> float:
    """Median AC."""
    return -81.3243 + 11.6772 * weeks - 0.000561865 * weeks**3


def femur_length_mm(weeks: float) -> float:
    """Median FL."""
    return -39.9616 + 4.32298 * weeks - 0.0380156 * weeks**2
