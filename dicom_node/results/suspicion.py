"""Which answers a reader must see first: those to a question whose usual answer would have been "normal"."""

from __future__ import annotations

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding
from dicom_node.results import codes

_NORMAL = frozenset({codes.NO_ABNORMALITY, codes.NORMAL})
_NO_ANSWER = frozenset({codes.NORMALITY_UNDETERMINED})


def can_be_normal(finding: Finding) -> bool:
    """Tell whether a finding answers the question if something is normal: a plane or its quality does not."""
    return isinstance(finding, Classification) and any(value in _NORMAL for value, _ in finding.probabilities)


def is_normal(finding: Finding) -> bool:
    """Tell whether a finding answers that question with "normal"."""
    return isinstance(finding, Classification) and finding.value in _NORMAL


def asks_for_normality(finding: Classification) -> bool:
    """Tell whether a finding names the anomaly of the fetus or says that there is none: no part of it, no grade."""
    return finding.site is None and finding.concept != codes.NORMALITY and can_be_normal(finding)


def normality_of(finding: Classification) -> Concept:
    """Say whether the answer is normal (DCM 121402), when the question was which anomaly there is."""
    return codes.NORMAL if is_normal(finding) else codes.ABNORMAL


def is_suspicious(finding: Finding) -> bool:
    """Tell whether a finding answers that question otherwise."""
    answer = finding.value if isinstance(finding, Classification) else None
    return can_be_normal(finding) and answer not in _NORMAL | _NO_ANSWER


def normal_share(answer: Classification) -> float:
    """Give the probability (0..1) of the answers that mean "normal"."""
    return sum(share for value, share in answer.probabilities if value in _NORMAL)
