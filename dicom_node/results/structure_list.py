"""The structures on the summary page: looked for or not, found or not, and what was said of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from dicom_node.domain.finding import Classification, Detection, Finding
from dicom_node.domain.result import Algorithm, StudyAnalysis
from dicom_node.results.caption import DOUBT, spoken
from dicom_node.results.lettering import Colour, width_of
from dicom_node.results.paper import GOOD, GREY, LARGE, LIST, SMALL, WHITE, Paper
from dicom_node.results.suspicion import can_be_normal, is_suspicious, normal_share

_NAME, _SCORE, _CLASS = 26, 188, 232  # where the columns begin


@dataclass(frozen=True, slots=True)
class Listed:
    """One structure that was looked for: where it was found best, and its class where it is least normal."""

    name: str
    best: Detection | None
    category: Classification | None


def write_structures(card: Paper, analysis: StudyAnalysis) -> None:
    """List what was looked for, found or not; a structure that is not found may still be there."""
    detectors = [algorithm for algorithm in analysis.algorithms if algorithm.detects]
    if not detectors:
        card.line("Not looked for: no model for them took part.", GREY)
    for detector in detectors:
        if any(finding.task == detector.task for finding in analysis.findings):
            _write_list(card, list_of(detector, analysis.findings))
        else:
            card.line("Not looked for: no plane that shows them was seen.", GREY)


def list_of(detector: Algorithm, findings: Sequence[Finding]) -> list[Listed]:
    """Gather what was said of each structure that a detector looks for."""
    found = [it for it in findings if isinstance(it, Detection) and it.task == detector.task]
    categories = [it for it in findings if isinstance(it, Classification) and can_be_normal(it)]
    listed = []
    for name in detector.detects:
        best = max((it for it in found if it.name == name), key=lambda it: it.score, default=None)
        own = [it for it in categories if best is not None and it.site == best.site]
        listed.append(Listed(name, best, min(own, key=normal_share, default=None)))
    return listed


def is_told_by_list(answer: Classification, analysis: StudyAnalysis) -> bool:
    """Tell whether the list says all that is to say of an answer: that a structure on it is normal."""
    listed = [one for detector in analysis.algorithms for one in list_of(detector, analysis.findings)]
    sites = {one.category.site for one in listed if one.category is not None}
    return can_be_normal(answer) and not is_suspicious(answer) and answer.site in sites


def _write_list(card: Paper, listed: Sequence[Listed]) -> None:
    card.line(f"{sum(one.best is not None for one in listed)} of {len(listed)} found", WHITE, LARGE)
    card.y += 4
    judged = any(one.category for one in listed)
    for place, one in enumerate(listed):
        if card.room(LIST) < 3 and place < len(listed) - 1:  # noqa: PLR2004 - two lines for it, one for the rest
            card.line(f"and {len(listed) - place} more, see the report", DOUBT, LIST)
            return
        _write_structure(card, one, judged=judged)
    card.y += 4
    meant = "Per cent: the detector's score" + (", then the class in the least normal frame" if judged else "")
    card.line(f"{meant}. Not found does not mean absent.", GREY, SMALL)
    for qualifier in dict.fromkeys(one.category.qualifier for one in listed if one.category):
        if qualifier:
            card.line(f"Normality {qualifier}.", GREY, SMALL)


def _write_structure(card: Paper, one: Listed, *, judged: bool) -> None:
    _mark(card, filled=one.best is not None, colour=_colour_of(one, judged=judged))
    top = card.y
    score = "not found" if one.best is None else f"{100 * one.best.score:.0f} %"
    card.cells(((spoken(one.name), _NAME), (score, _SCORE)), WHITE if one.best else GREY, LIST)
    if one.best is not None and judged:
        words = _in_words(one.category)
        if _CLASS + width_of(words, SMALL) <= card.width:
            card.ink((card.box[0] + _CLASS, top + LIST - SMALL), words, WHITE, SMALL)
        else:
            card.line(words, WHITE, SMALL, indent=_NAME)
    card.y += 4


def _colour_of(one: Listed, *, judged: bool) -> Colour:
    """Green is for what was found and called normal; where nothing was judged, for what was found."""
    if one.best is None:
        return GREY
    if one.category is None:
        return WHITE if judged else GOOD
    return DOUBT if is_suspicious(one.category) else GOOD


def _in_words(category: Classification | None) -> str:
    if category is None:
        return "no class"
    return f"{category.value.meaning.lower()} {100 * dict(category.probabilities)[category.value]:.0f} %"


def _mark(card: Paper, *, filled: bool, colour: Colour) -> None:
    """Draw a full or an open circle at the beginning of a line."""
    centre = (round(16 * (card.box[0] + 9)), round(16 * (card.y + LIST * 0.62)))
    cv2.circle(card.picture, centre, 16 * 7, colour, -1 if filled else 2, cv2.LINE_AA, 4)
