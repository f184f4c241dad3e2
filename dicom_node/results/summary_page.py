"""One picture of a study that a reader understands in five seconds: what was seen, found, measured and not assessable.

It names no patient and no date of the study; those are in the header of the object, as for every image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
from pydicom import Dataset

from dicom_node.domain.assessment import Assessment, assess
from dicom_node.domain.biometry import GESTATIONAL_AGE, Derived, NotDerived, weeks_and_days
from dicom_node.domain.biometry_equations import ULTRASOUND_AGE
from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Detection, Finding, Measurement, NotAssessable, frames_of
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.key_frames import OUT_OF_SCOPE
from dicom_node.domain.result import StudyAnalysis
from dicom_node.results import codes
from dicom_node.results.caption import BANNER, DOUBT, WARNING, short_meaning, spoken
from dicom_node.results.evidence import instance_number, is_picture
from dicom_node.results.growth_chart import charts_of, draw_chart, percentile_words
from dicom_node.results.lettering import LINE_HEIGHT, Colour, Picture, width_of, wrapped
from dicom_node.results.paper import BODY, GREY, LARGE, LIST, MARGIN, PAD, SMALL, WHITE, WIDTH, Paper
from dicom_node.results.render import Style, colours_of, draw_shapes
from dicom_node.results.structure_list import is_told_by_list, write_structures
from dicom_node.results.suspicion import can_be_normal, is_suspicious

_INWARD, _FOOT = 430, 200  #: where the title and the models begin
_PICTURES = 4  #: of planes, at most
_CHARTS = 4
_GAP = 4  #: between two answers, in pixels
_USUAL, _LOWEST = 578, 760  #: where the card of the answers ends
_HEAD = 44  #: of a card: its title and the margins


def draw_page(analysis: StudyAnalysis, headers: Sequence[Dataset], key_frames: Sequence[Frame]) -> Picture:
    """Draw the page, shape (960, 1280, 3), RGB uint8.

    :param headers: of all instances that were looked at.
    """
    page = Paper()
    assessment = assess(analysis.findings, analysis.scanner_report)
    _heading(page, analysis, sum(map(is_picture, headers)))
    card = page.card((MARGIN, 88, WIDTH - MARGIN, 356), "Planes seen")
    _planes(card, analysis, key_frames, {header.SOPInstanceUID: instance_number(header) for header in headers})
    write_structures(page.card((MARGIN, 370, 388, 898), "Structures"), analysis)
    _measurements(page.card((402, 370, 868, 898), "Measurements"), analysis, assessment)
    answers = _answers_of(analysis)
    bottom = _bottom_of(answers, 370)
    _answers(page.card((882, 370, WIDTH - MARGIN, bottom), "Answers"), answers)
    _not_assessable(page.card((882, bottom + PAD, WIDTH - MARGIN, 898), "Not assessable"), analysis, assessment)
    _footing(page, analysis)
    return page.picture


def _heading(page: Paper, analysis: StudyAnalysis, images: int) -> None:
    """Write what the page is, clear of where viewers write: the left corners, and a cine's buttons in the middle."""
    page.ink((_INWARD, 8), "AI summary of the study", WHITE, LARGE)
    seen = f"{images} images" if images != 1 else "1 image"
    when = f"version {analysis.version}, {analysis.analysed_at:%Y-%m-%d %H:%M} UTC"
    page.ink_up_to((WIDTH - MARGIN, 20), f"preliminary, not seen by a reader; {seen}, {when}", GREY, SMALL)
    page.ink_up_to((WIDTH - MARGIN, 52), BANNER, WARNING, BODY)


def _planes(
    card: Paper, analysis: StudyAnalysis, key_frames: Sequence[Frame], image_numbers: Mapping[str, int | None]
) -> None:
    """Show every plane by the frame that shows most of it; with room left, its next best frames too."""
    shown: dict[str, list[tuple[int, float, Frame]]] = {}
    for frame in key_frames:
        view = _view_of(frame, analysis.findings)
        if view is not None and view.value_name != OUT_OF_SCOPE:
            worth = (_drawn_on(frame, analysis.findings), dict(view.probabilities)[view.value], frame)
            shown.setdefault(view.value.meaning, []).append(worth)
    if not shown:
        card.line("No plane of interest was seen.", WHITE, LARGE)
        return
    ranked = {meaning: sorted(frames, key=lambda it: it[:2], reverse=True) for meaning, frames in shown.items()}
    in_turn = sorted((rank, meaning) for meaning, frames in ranked.items() for rank in range(len(frames)))
    step = (card.width + PAD) // _PICTURES
    for place, (rank, meaning) in enumerate(in_turn[:_PICTURES]):
        _, probability, frame = ranked[meaning][rank]
        x = card.box[0] + place * step
        _thumbnail(card.picture, frame, analysis.findings, (x, round(card.y), x + step - PAD, card.box[3] - 44))
        card.ink((x, card.box[3] - 42), f"{meaning} {100 * probability:.0f} %", WHITE, LIST)
        card.ink((x, card.box[3] - 18), _place_of(frame.reference, image_numbers), GREY, SMALL)
    if (more := len(in_turn) - _PICTURES) > 0:
        text = f"and {more} more key {'frames' if more > 1 else 'frame'}"
        card.ink((card.box[2] - width_of(text, SMALL), card.box[1]), text, GREY, SMALL)


def _place_of(reference: FrameReference, image_numbers: Mapping[str, int | None]) -> str:
    """Say where a reader finds a picture: by the numbers that viewers show."""
    image, frame = image_numbers.get(reference.sop_instance_uid), reference.frame_number
    said = {"image": image, "frame": frame}
    return ", ".join(f"{what} {number}" for what, number in said.items() if number is not None)


def _measurements(card: Paper, analysis: StudyAnalysis, assessment: Assessment) -> None:
    """Give sizes with age and percentile, then the growth charts, or why there are none."""
    derived = {it.name: it for it in assessment.derivations if isinstance(it, Derived)}
    rows = [(size.name, f"{size.value_mm:.1f} mm", f"GA from {size.name}") for size in assessment.sizes.values()]
    if "EFW" in derived:
        rows.append(("EFW", f"{derived['EFW'].value:.0f} g", ""))
    if not rows:
        _no_sizes(card, analysis, assessment)
        return
    rows += [(", ".join(it.sizes), "", it.name) for it in derived.values() if it.concept == ULTRASOUND_AGE]
    card.cells((("size", 0), ("value", 62), ("age by it", 190), ("for the age by dates", 282)), GREY, SMALL)
    for name, value, age in rows:
        weeks = weeks_and_days(derived[age].value) if age in derived else ""
        growth = derived.get(f"{name} percentile")
        rank = percentile_words(growth.value) if growth else ""
        inside = growth is None or 5 <= growth.value <= 95  # noqa: PLR2004
        card.cells(((name, 0), (value, 62), (weeks, 190), (rank, 282)), WHITE if inside else DOUBT)
    for reason, names in _why_not_derived(assessment).items():
        card.line(f"{', '.join(names)}: {reason}.", GREY, SMALL)
    card.y += 6
    if isinstance(assessment.age, NotDerived):
        card.line("No growth chart", WHITE, BODY)
        card.line(f"{assessment.age.reason}.".capitalize(), GREY, SMALL)
        return
    charts = charts_of(
        assessment.derivations, {it.name: it.value_mm for it in assessment.sizes.values()}, assessment.age.value
    )
    age = f"Age by dates {weeks_and_days(assessment.age.value)}"
    card.line(f"{age}. Curves: 5th, 50th, 95th, Hadlock", GREY, SMALL)
    card.y += 4
    left = int(card.box[3] - card.y)
    rows_of_charts = 1 if len(charts) <= 2 else 2  # noqa: PLR2004
    size = (card.width // 2 if len(charts) > 1 else card.width, min(250, left // rows_of_charts))
    for place, chart in enumerate(charts[:_CHARTS]):
        at = (card.box[0] + place % 2 * size[0], round(card.y) + place // 2 * size[1])
        draw_chart(card.picture, chart, at, size)


def _why_not_derived(assessment: Assessment) -> dict[str, list[str]]:
    """Give why no age follows from a size, with the sizes; why there are no percentiles at all is said below."""
    said: dict[str, list[str]] = {}
    for it in assessment.derivations:
        if isinstance(it, NotDerived) and it.concept == GESTATIONAL_AGE:
            said.setdefault(it.reason, []).extend(it.sizes)
    return said


def _no_sizes(card: Paper, analysis: StudyAnalysis, assessment: Assessment) -> None:
    """Say why there is no size of the fetus in millimetres."""
    measured = [finding for finding in analysis.findings if isinstance(finding, Measurement)]
    card.line("None in millimetres." if measured else "None.", WHITE, LARGE)
    for it in measured:
        if it.unit != "mm":
            card.cells(((it.name, 0), (f"{it.value:.0f} pixels", 62)), WHITE)
    for why in dict.fromkeys(it.qualifier for it in measured if it.qualifier):
        card.line(f"No millimetres: {why}.", GREY)
    for name, why in assessment.left_out.items():
        card.line(f"{name}: {why}", GREY)
    if not measured:
        card.line("No plane that can be measured was seen, or none could be assessed.", GREY)


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
    parts = [it for it in given if it.site is not None and not is_told_by_list(it, analysis)]
    answers = [_whole_answer(same) for same in _by_kind(whole)]
    if not any(can_be_normal(it) for it in given):
        answers.append(_Answer((("Normal or not: no answer", WHITE, 21),), is_suspicious=False))
    answers += [_parts_answer(same) for same in _by_kind(parts)]
    return sorted(answers, key=lambda it: not it.is_suspicious)


def _surest_first(answer: Classification) -> tuple[bool, float]:
    return not is_suspicious(answer), -dict(answer.probabilities)[answer.value]


def _by_kind(answers: Iterable[Classification]) -> list[list[Classification]]:
    """Put the same answers together, in their order."""
    same: dict[tuple[Concept, Concept], list[Classification]] = {}
    for it in answers:
        same.setdefault((it.concept, it.value), []).append(it)
    return list(same.values())


def _whole_answer(same: Sequence[Classification]) -> _Answer:
    """Say once what was answered, for all frames together or for each."""
    first = same[0]
    frames = max(len(first.frames), len(same))
    shares = sorted({f"{100 * dict(it.probabilities)[it.value]:.0f}" for it in same}, key=int)
    share = " to ".join(dict.fromkeys((shares[0], shares[-1])))
    said = f"{short_meaning(first.value)}, {share} %, {frames} frame{'s' if frames > 1 else ''}"
    colour = DOUBT if is_suspicious(first) else WHITE
    qualifier = ((first.qualifier, GREY, SMALL),) if first.qualifier else ()
    return _Answer(((first.concept.meaning, GREY, SMALL), (said, colour, 21), *qualifier), is_suspicious(first))


def _parts_answer(same: Sequence[Classification]) -> _Answer:
    """Name the parts that were given one value; what taught a normality stands among the structures."""
    surest: dict[str, float] = {}
    for it in sorted(same, key=_surest_first):
        surest.setdefault(it.site.meaning if it.site else "", dict(it.probabilities)[it.value])
    named = ", ".join(f"{part.lower()} {100 * share:.0f} %" for part, share in surest.items())
    suspicious = is_suspicious(same[0])
    colour = DOUBT if suspicious else WHITE
    return _Answer(((short_meaning(same[0].value), GREY, SMALL), (named, colour, BODY)), suspicious)


def _bottom_of(answers: Sequence[_Answer], top: int) -> int:
    """Give the card of the answers the room that they need, as long as some is left for the card below."""
    needed = top + _HEAD + sum(answer.height(WIDTH - MARGIN - 882 - 2 * PAD) for answer in answers)
    return int(min(max(needed, _USUAL), _LOWEST))


def _answers(card: Paper, answers: Sequence[_Answer]) -> None:
    """Write the answers down; none is left out in silence."""
    for place, answer in enumerate(answers):
        rest = answers[place:]
        last_line = BODY * LINE_HEIGHT if len(rest) > 1 else 0.0
        if card.y + answer.height(card.width) + last_line > card.box[3] + _GAP:
            colour = DOUBT if any(it.is_suspicious for it in rest) else GREY
            card.line(f"and {len(rest)} more, see the report", colour)
            return
        for text, colour, px in answer.lines:
            card.line(text, colour, px)
        card.y += _GAP


def _not_assessable(card: Paper, analysis: StudyAnalysis, assessment: Assessment) -> None:
    """Give each reason once, with how often it applied; what finds no room is in the report."""
    reasons = Counter(
        [f"{spoken(it.name)}: {it.reason}" for it in analysis.findings if isinstance(it, NotAssessable)]
        + [f"{spoken(it.task or 'image')}: {it.reason}" for it in analysis.not_analysed]
    )
    reasons.update(f"{name}: {why}" for name, why in assessment.left_out.items())
    if not reasons:
        card.line("Everything that was looked at could be assessed.", GREY)
    for place, (reason, count) in enumerate(reasons.most_common()):
        text = f"{reason} ({count} x)" if count > 1 else reason
        needed = len(wrapped(text, card.width, LIST))
        if card.room(LIST) < needed + (place < len(reasons) - 1):
            card.line(f"and {len(reasons) - place} more, see the report", GREY, LIST)
            return
        card.line(text, WHITE, LIST)


def _footing(page: Paper, analysis: StudyAnalysis) -> None:
    """Name the models between the lower corners, which viewers write into."""
    models = ", ".join(f"{it.name} {it.version}" for it in analysis.algorithms) or "none"
    for row, text in enumerate(wrapped(f"Models: {models}", WIDTH - 2 * _FOOT, SMALL)[:2]):
        page.ink((_FOOT, 908 + row * 20), text, GREY, SMALL)


def _thumbnail(picture: Picture, frame: Frame, findings: Sequence[Finding], box: tuple[int, int, int, int]) -> None:
    """Draw a frame with its shapes into a box, as large as it fits; only its tissue, where the scanner says where."""
    of_frame = [finding for finding in findings if frame.reference in frames_of(finding)]
    drawn = frame.pixels.copy()
    thick = max(1, round(drawn.shape[1] / (box[2] - box[0])))
    style = Style.of(drawn)
    draw_shapes(drawn, of_frame, Style(style.font_px * thick, style.line_px * thick), colours_of(findings))
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
