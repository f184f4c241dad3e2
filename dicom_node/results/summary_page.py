"""One picture of a study that a reader understands in five seconds: what was seen, found, measured and not assessable.

It names no patient and no date of the study; those are in the header of the object, as for every image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dicom_node.domain.assessment import Assessment, assess
from dicom_node.domain.biometry import Derived, NotDerived, weeks_and_days
from dicom_node.domain.finding import (
    Classification,
    Detection,
    Finding,
    Measurement,
    NotAssessable,
    frames_of,
)
from dicom_node.domain.frame import Frame
from dicom_node.domain.key_frames import OUT_OF_SCOPE
from dicom_node.domain.result import Algorithm, StudyAnalysis
from dicom_node.results import codes
from dicom_node.results.growth_chart import charts_of, draw_chart, percentile_words
from dicom_node.results.lettering import LINE_HEIGHT, Colour, Picture, width_of, wrapped, write
from dicom_node.results.render import BANNER, WARNING, Style, colours_of, draw_shapes, spoken
from dicom_node.results.suspicion import can_be_normal, is_suspicious

WIDTH, HEIGHT = 1280, 960
_PAPER: Colour = (16, 19, 23)
_CARD: Colour = (28, 33, 39)
_WHITE: Colour = (240, 240, 240)
_GREY: Colour = (165, 172, 180)
_GOOD: Colour = (120, 220, 150)
_DOUBT: Colour = (255, 160, 80)
_BODY, _SMALL, _LARGE, _TITLE = 19, 15, 26, 30  # font sizes in pixels
_MARGIN, _PAD = 16, 14
_PICTURES = 4  #: of planes, at most
_CHARTS = 4
_GAP = 4  #: between two answers, in pixels
_USUAL, _LOWEST = 578, 760  #: where the card of the answers ends
_HEAD = 44  #: of a card: its title and the margins


def draw_page(analysis: StudyAnalysis, images: int, key_frames: Sequence[Frame]) -> Picture:
    """Draw the page, shape (960, 1280, 3), RGB uint8.

    :param images: how many instances of the study hold pictures.
    """
    page = _Paper(np.full((HEIGHT, WIDTH, 3), _PAPER, dtype=np.uint8))
    assessment = assess(analysis.findings, analysis.scanner_report)
    _heading(page, analysis, images)
    _planes(page.card((_MARGIN, 88, WIDTH - _MARGIN, 356), "Planes seen"), analysis, key_frames)
    _structures(page.card((_MARGIN, 370, 388, 898), "Structures"), analysis)
    _measurements(page.card((402, 370, 868, 898), "Measurements"), analysis, assessment)
    answers = _answers_of(analysis)
    bottom = _bottom_of(answers, 370)
    _answers(page.card((882, 370, WIDTH - _MARGIN, bottom), "Answers"), answers)
    _not_assessable(page.card((882, bottom + _PAD, WIDTH - _MARGIN, 898), "Not assessable"), analysis, assessment)
    _footing(page, analysis)
    return page.picture


@dataclass(slots=True)
class _Paper:
    """A picture with a pen that goes down: ``y`` is where the next line begins, ``box`` what may be written on."""

    picture: Picture
    box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT)
    y: float = 0.0

    def card(self, box: tuple[int, int, int, int], title: str) -> _Paper:
        """Begin a part of the page."""
        cv2.rectangle(self.picture, box[:2], (box[2] - 1, box[3] - 1), _CARD, -1)
        inner = (box[0] + _PAD, box[1] + 10, box[2] - _PAD, box[3] - 8)
        part = _Paper(self.picture, inner, float(inner[1]))
        part.line(title.upper(), _GREY, _SMALL)
        part.y += 4
        return part

    @property
    def width(self) -> int:
        """What a line may take."""
        return self.box[2] - self.box[0]

    def room(self, font_px: int) -> int:
        """Tell how many lines still fit."""
        return max(0, int((self.box[3] - self.y) / (font_px * LINE_HEIGHT)))

    def line(self, text: str, colour: Colour = _WHITE, font_px: int = _BODY, indent: float = 0) -> None:
        """Write a text, wrapped; what does not fit into the card is left out."""
        for part in wrapped(text, self.width - indent, font_px):
            if self.room(font_px) == 0:
                return
            _ink(self.picture, (self.box[0] + indent, self.y), part, colour, font_px)
            self.y += font_px * LINE_HEIGHT

    def cells(self, texts: Iterable[tuple[str, float]], colour: Colour, font_px: int = _BODY) -> None:
        """Write one row of a table: texts, each with where it begins in the card."""
        if self.room(font_px):
            for text, x in texts:
                _ink(self.picture, (self.box[0] + x, self.y), text, colour, font_px)
            self.y += font_px * LINE_HEIGHT


def _heading(page: _Paper, analysis: StudyAnalysis, images: int) -> None:
    _ink(page.picture, (_MARGIN, 10), "AI summary of the study", _WHITE, _TITLE)
    seen = f"{images} images" if images != 1 else "1 image"
    when = f"{seen}, version {analysis.version}, {analysis.analysed_at:%Y-%m-%d %H:%M} UTC"
    _ink(page.picture, (WIDTH - _MARGIN - width_of(when, _SMALL), 20), when, _GREY, _SMALL)
    _ink(page.picture, (_MARGIN, 54), BANNER, WARNING, 20)
    unread = "preliminary, not seen by a reader"
    _ink(page.picture, (WIDTH - _MARGIN - width_of(unread, _SMALL), 56), unread, _GREY, _SMALL)


def _planes(card: _Paper, analysis: StudyAnalysis, key_frames: Sequence[Frame]) -> None:
    """Show every plane by the frame that shows most of it; with room left, its next best frames too."""
    shown: dict[str, list[tuple[int, float, Frame]]] = {}
    for frame in key_frames:
        view = _view_of(frame, analysis.findings)
        if view is not None and view.value_name != OUT_OF_SCOPE:
            worth = (_drawn_on(frame, analysis.findings), dict(view.probabilities)[view.value], frame)
            shown.setdefault(view.value.meaning, []).append(worth)
    if not shown:
        card.line("No plane of interest was seen.", _WHITE, _LARGE)
        return
    ranked = {meaning: sorted(frames, key=lambda it: it[:2], reverse=True) for meaning, frames in shown.items()}
    in_turn = sorted((rank, meaning) for meaning, frames in ranked.items() for rank in range(len(frames)))
    step = (card.width + _PAD) // _PICTURES
    for place, (rank, meaning) in enumerate(in_turn[:_PICTURES]):
        _, probability, frame = ranked[meaning][rank]
        x = card.box[0] + place * step
        _thumbnail(card.picture, frame, analysis.findings, (x, round(card.y), x + step - _PAD, card.box[3] - 28))
        _ink(card.picture, (x, card.box[3] - 25), f"{meaning} {100 * probability:.0f} %", _WHITE, 17)
    if (more := len(in_turn) - _PICTURES) > 0:
        text = f"and {more} more key {'frames' if more > 1 else 'frame'}"
        _ink(card.picture, (card.box[2] - width_of(text, _SMALL), card.box[1]), text, _GREY, _SMALL)


def _structures(card: _Paper, analysis: StudyAnalysis) -> None:
    """List what was looked for, found or not; a structure that is not found may still be there."""
    detectors = [algorithm for algorithm in analysis.algorithms if algorithm.detects]
    if not detectors:
        card.line("Not looked for: no model for them took part.", _GREY)
    for detector in detectors:
        if any(finding.task == detector.task for finding in analysis.findings):
            _checklist(card, detector, analysis.findings)
        else:
            card.line("Not looked for: no plane that shows them was seen.", _GREY)


def _checklist(card: _Paper, detector: Algorithm, findings: Sequence[Finding]) -> None:
    found = [finding for finding in findings if isinstance(finding, Detection) and finding.task == detector.task]
    classes = [it for it in findings if isinstance(it, Classification) and it.site is not None and can_be_normal(it)]
    names = list(detector.detects)
    best = {name: max((it for it in found if it.name == name), key=lambda it: it.score, default=None) for name in names}
    card.line(f"{sum(it is not None for it in best.values())} of {len(names)} found", _WHITE, _LARGE)
    card.y += 4
    for name, detection in best.items():
        of_site = [it for it in classes if detection is not None and it.site == detection.site]
        worst = next((it for it in of_site if is_suspicious(it)), of_site[0] if of_site else None)
        colour = _GREY if detection is None else _DOUBT if worst and is_suspicious(worst) else _GOOD
        _mark(card, filled=detection is not None, colour=colour)
        said = "not found" if detection is None else f"{100 * detection.score:.0f} %"
        text = f"{said}, {worst.value.meaning.lower()}" if worst else said
        card.cells(((spoken(name), 28), (text, 212)), _WHITE if detection else _GREY)
        card.y += 3
    card.y += 4
    card.line("Per cent: the detector's score. Not found does not mean absent.", _GREY, _SMALL)
    for qualifier in dict.fromkeys(it.qualifier for it in classes if it.qualifier):
        card.line(f"Normality {qualifier}.", _GREY, _SMALL)


def _measurements(card: _Paper, analysis: StudyAnalysis, assessment: Assessment) -> None:
    """Give sizes with age and percentile, then the growth charts, or why there are none."""
    derived = {it.name: it for it in assessment.derivations if isinstance(it, Derived)}
    rows = [(size.name, f"{size.value_mm:.1f} mm", f"GA from {size.name}") for size in assessment.sizes.values()]
    if "EFW" in derived:
        rows.append(("EFW", f"{derived['EFW'].value:.0f} g", ""))
    if not rows:
        _no_sizes(card, analysis, assessment)
        return
    card.cells((("size", 0), ("value", 62), ("age by it", 190), ("for the age by dates", 282)), _GREY, _SMALL)
    for name, value, age in rows:
        weeks = weeks_and_days(derived[age].value) if age in derived else "-"
        growth = derived.get(f"{name} percentile")
        rank = percentile_words(growth.value) if growth else "-"
        inside = growth is None or 5 <= growth.value <= 95  # noqa: PLR2004
        card.cells(((name, 0), (value, 62), (weeks, 190), (rank, 282)), _WHITE if inside else _DOUBT)
    card.y += 6
    if isinstance(assessment.age, NotDerived):
        card.line("No growth chart", _WHITE, _BODY)
        card.line(f"{assessment.age.reason}.".capitalize(), _GREY, _SMALL)
        return
    charts = charts_of(
        assessment.derivations, {it.name: it.value_mm for it in assessment.sizes.values()}, assessment.age.value
    )
    age = f"Age by dates {weeks_and_days(assessment.age.value)}"
    card.line(f"{age}. Curves: 5th, 50th, 95th, Hadlock", _GREY, _SMALL)
    card.y += 4
    left = int(card.box[3] - card.y)
    rows_of_charts = 1 if len(charts) <= 2 else 2  # noqa: PLR2004
    size = (card.width // 2 if len(charts) > 1 else card.width, min(250, left // rows_of_charts))
    for place, chart in enumerate(charts[:_CHARTS]):
        at = (card.box[0] + place % 2 * size[0], round(card.y) + place // 2 * size[1])
        draw_chart(card.picture, chart, at, size)


def _no_sizes(card: _Paper, analysis: StudyAnalysis, assessment: Assessment) -> None:
    """Say why there is no size of the fetus in millimetres."""
    measured = [finding for finding in analysis.findings if isinstance(finding, Measurement)]
    card.line("None in millimetres." if measured else "None.", _WHITE, _LARGE)
    for it in measured:
        if it.unit != "mm":
            card.cells(((it.name, 0), (f"{it.value:.0f} pixels", 62)), _WHITE)
    for why in dict.fromkeys(it.qualifier for it in measured if it.qualifier):
        card.line(f"No millimetres: {why}.", _GREY)
    for name, why in assessment.left_out.items():
        card.line(f"{name}: {why}", _GREY)
    if not measured:
        card.line("No plane that can be measured was seen, or none could be assessed.", _GREY)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Lines of one answer: texts with colour and font size."""

    lines: tuple[tuple[str, Colour, int], ...]
    is_suspicious: bool

    def height(self, width: int) -> float:
        """Tell how much of a card it takes."""
        return _GAP + sum(len(wrapped(text, width, px)) * px * LINE_HEIGHT for text, _, px in self.lines)


def _answers_of(analysis: StudyAnalysis) -> list[_Answer]:
    """List what was answered: anomalies of the study first, then of its parts, all of one kind together, then the rest.

    Parts that are normal stand among the structures.
    """
    given = [it for it in analysis.findings if isinstance(it, Classification) and it.concept != codes.IMAGE_VIEW]
    whole = sorted((it for it in given if it.site is None), key=_surest_first)
    bad_parts = [it for it in given if it.site is not None and is_suspicious(it)]
    answers = [_whole_answer(it, count) for it, count in _counted(whole)]
    if not any(can_be_normal(it) for it in given):
        answers.append(_Answer((("Normal or not: no answer", _WHITE, 21),), is_suspicious=False))
    answers += [
        _parts_answer([it for it in bad_parts if it.value == value]) for value in {it.value: 0 for it in bad_parts}
    ]
    return sorted(answers, key=lambda it: not it.is_suspicious)


def _surest_first(answer: Classification) -> tuple[bool, float]:
    return not is_suspicious(answer), -dict(answer.probabilities)[answer.value]


def _counted(answers: Sequence[Classification]) -> list[tuple[Classification, int]]:
    """Put the same answers together, each with the number of its frames."""
    of_one = Counter((it.concept, it.value) for it in answers)
    first = {(it.concept, it.value): it for it in reversed(answers)}
    return [(first[which], max(len(first[which].frames), count)) for which, count in of_one.items()]


def _whole_answer(answer: Classification, frames: int) -> _Answer:
    share = f"{100 * dict(answer.probabilities)[answer.value]:.0f} %, {frames} frame{'s' if frames > 1 else ''}"
    said = f"{answer.value.meaning.removesuffix(' - examination result')}, {share}"
    colour = _DOUBT if is_suspicious(answer) else _WHITE
    qualifier = ((answer.qualifier, _GREY, _SMALL),) if answer.qualifier else ()
    lines = ((answer.concept.meaning, _GREY, _SMALL), (said, colour, 21), *qualifier)
    return _Answer(lines, is_suspicious(answer))


def _parts_answer(parts: Sequence[Classification]) -> _Answer:
    """Name the parts that were given one value, which is not normal; what taught it stands among the structures."""
    surest: dict[str, float] = {}
    for it in sorted(parts, key=_surest_first):
        surest.setdefault(it.site.meaning if it.site else "", dict(it.probabilities)[it.value])
    named = ", ".join(f"{part.lower()} {100 * share:.0f} %" for part, share in surest.items())
    return _Answer(((parts[0].value.meaning, _GREY, _SMALL), (named, _DOUBT, _BODY)), is_suspicious=True)


def _bottom_of(answers: Sequence[_Answer], top: int) -> int:
    """Give the card of the answers the room that they need, as long as some is left for the card below."""
    needed = top + _HEAD + sum(answer.height(WIDTH - _MARGIN - 882 - 2 * _PAD) for answer in answers)
    return int(min(max(needed, _USUAL), _LOWEST))


def _answers(card: _Paper, answers: Sequence[_Answer]) -> None:
    """Write the answers down; none is left out in silence."""
    for place, answer in enumerate(answers):
        rest = answers[place:]
        last_line = _BODY * LINE_HEIGHT if len(rest) > 1 else 0.0
        if card.y + answer.height(card.width) + last_line > card.box[3] + _GAP:
            colour = _DOUBT if any(it.is_suspicious for it in rest) else _GREY
            card.line(f"and {len(rest)} more, see the report", colour)
            return
        for text, colour, px in answer.lines:
            card.line(text, colour, px)
        card.y += _GAP


def _not_assessable(card: _Paper, analysis: StudyAnalysis, assessment: Assessment) -> None:
    """Give each reason once, with how often it applied; what finds no room is in the report."""
    reasons = Counter(
        [f"{spoken(it.name)}: {it.reason}" for it in analysis.findings if isinstance(it, NotAssessable)]
        + [f"{spoken(it.task or 'image')}: {it.reason}" for it in analysis.not_analysed]
    )
    reasons.update(f"{name}: {why}" for name, why in assessment.left_out.items())
    if not reasons:
        card.line("Everything that was looked at could be assessed.", _GREY)
    for place, (reason, count) in enumerate(reasons.most_common()):
        text = f"{reason} ({count} x)" if count > 1 else reason
        needed = len(wrapped(text, card.width, 17))
        if card.room(17) < needed + (place < len(reasons) - 1):
            card.line(f"and {len(reasons) - place} more, see the report", _GREY, 17)
            return
        card.line(text, _WHITE, 17)


def _footing(page: _Paper, analysis: StudyAnalysis) -> None:
    models = ", ".join(f"{it.name} {it.version}" for it in analysis.algorithms) or "none"
    for row, text in enumerate(wrapped(f"Models: {models}", WIDTH - 2 * _MARGIN, _SMALL)[:2]):
        _ink(page.picture, (_MARGIN, 908 + row * 20), text, _GREY, _SMALL)


def _ink(picture: Picture, at: tuple[float, float], text: str, colour: Colour, font_px: int) -> None:
    write(picture, at, text, colour, font_px, rimmed=False)


def _mark(card: _Paper, *, filled: bool, colour: Colour) -> None:
    """Draw a full or an open circle at the beginning of a line."""
    centre = (round(16 * (card.box[0] + 9)), round(16 * (card.y + _BODY * 0.62)))
    cv2.circle(card.picture, centre, 16 * 7, colour, -1 if filled else 2, cv2.LINE_AA, 4)


def _thumbnail(picture: Picture, frame: Frame, findings: Sequence[Finding], box: tuple[int, int, int, int]) -> None:
    """Draw a frame with its shapes into a box, as large as it fits; only its tissue, where the scanner says where."""
    of_frame = [finding for finding in findings if frame.reference in frames_of(finding)]
    drawn = frame.pixels.copy()
    thick = max(1, round(drawn.shape[1] / (box[2] - box[0])))
    style = Style.of(drawn)
    draw_shapes(drawn, of_frame, Style(style.font_px * thick, style.line_px * thick), colours_of(of_frame))
    for region in frame.calibration.regions[:1]:
        drawn = drawn[region.y0 : region.y1 + 1, region.x0 : region.x1 + 1]
    scale = min((box[2] - box[0]) / drawn.shape[1], (box[3] - box[1]) / drawn.shape[0])
    size = (max(1, int(drawn.shape[1] * scale)), max(1, int(drawn.shape[0] * scale)))
    small = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture[box[1] : box[1] + size[1], box[0] : box[0] + size[0]] = small


def _view_of(frame: Frame, findings: Sequence[Finding]) -> Classification | None:
    """Give the most particular plane of a frame: the gate says "brain" first, then which plane of the brain."""
    views = [
        finding
        for finding in findings
        if isinstance(finding, Classification)
        and finding.concept == codes.IMAGE_VIEW
        and frame.reference in finding.frames
    ]
    return views[-1] if views else None


def _drawn_on(frame: Frame, findings: Sequence[Finding]) -> int:
    return sum(isinstance(it, Detection | Measurement) and it.frame == frame.reference for it in findings)
