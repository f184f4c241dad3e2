"""What is written on an overlay: which plane, sizes, every answer that is not normal, and in one line what is.

A picture is for looking at; everything in full stands on the summary page and in the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Detection, Finding, Measurement, NotAssessable, Segmentation
from dicom_node.results import codes
from dicom_node.results.lettering import Colour
from dicom_node.results.suspicion import is_normal, is_suspicious

Line = tuple[str, Colour]

BANNER = "AI RESULT, NOT FOR MEASUREMENT, INVESTIGATIONAL"
TEXT: Colour = (235, 235, 235)
WARNING: Colour = (255, 120, 110)
DOUBT: Colour = (255, 160, 80)  #: of an answer that is not normal


def caption(findings: Sequence[Finding], colours: Mapping[str, Colour]) -> list[Line]:
    """Write what has a value rather than a place."""
    answers = [it for it in findings if isinstance(it, Classification)]
    views = [it for it in answers if it.concept == codes.IMAGE_VIEW]
    whole = [it for it in answers if it.site is None and it.concept != codes.IMAGE_VIEW]
    parts = [it for it in answers if it.site is not None]
    found = sum(isinstance(it, Detection) for it in findings)
    return [
        *((_answer(it), TEXT) for it in views[-1:]),  # the gate says "brain" first, then which plane of the brain
        *_sizes(findings, colours),
        *(line for it in whole for line in (_coloured(_answer(it), it), *remarks([it], len(it.frames)))),
        *_parts(parts, found),
        *_not_assessable(findings),
    ]


def label_of(finding: Detection) -> str:
    """Write what stands beside a box: the structure and the detector's score."""
    return f"{spoken(finding.name)} {100 * finding.score:.0f} %"


def spoken(name: str) -> str:
    """Write a name as people say it."""
    return name.replace("_", " ")


def short_meaning(value: Concept) -> str:
    """Write what a code means without the words that tell it from its neighbours in the dictionary."""
    return value.meaning.removesuffix(" - examination result")


def _answer(it: Classification) -> str:
    share = dict(it.probabilities).get(it.value)
    return short_meaning(it.value) + (f" {100 * share:.0f} %" if share is not None else "")


def _coloured(words: str, it: Classification) -> Line:
    return words, DOUBT if is_suspicious(it) else TEXT


def remarks(answers: Iterable[Classification], frames: int = 1) -> list[Line]:
    """Say once, in few words, what a reader has to know before believing some answers."""
    caveats = dict.fromkeys(it.qualifier if it.caveat is None else it.caveat for it in answers)
    said = [f"{frames} frames" if frames > 1 else "", *caveats]
    words = ", ".join(filter(None, said))
    return [(f"({words})", TEXT)] if words else []


def _sizes(findings: Sequence[Finding], colours: Mapping[str, Colour]) -> list[Line]:
    """Give what was measured, and what was only outlined."""
    lines: list[Line] = []
    measured = {finding.site for finding in findings if isinstance(finding, Measurement)}
    for finding in findings:
        match finding:
            case Measurement(unit="mm"):
                lines.append((f"{finding.name}  {finding.value:.1f} mm", colours[finding.name]))
            case Measurement():
                lines.append((f"{finding.name}  {finding.value:.0f} px", colours[finding.name]))
            case Segmentation() if finding.structure not in measured:
                lines.append((f"{spoken(finding.name)}  {100 * finding.score:.0f} %", colours[finding.name]))
            case _:
                pass
    no_scale = any(isinstance(finding, Measurement) and finding.unit != "mm" for finding in findings)
    return [*lines, ("(no scale)", TEXT)] if no_scale else lines


def _parts(parts: Sequence[Classification], found: int) -> list[Line]:
    """Name the parts that are not normal by their class, and only count those that are.

    Nine lines that say "Normal" would hide the one that does not. How many were found is said beside: of a part without
    a class nothing is known.
    """
    of_class: dict[Concept, list[Classification]] = {}
    for it in parts:
        if not is_normal(it):
            of_class.setdefault(it.value, []).append(it)
    lines = [
        _coloured(f"{short_meaning(value)}: {', '.join(_part(it) for it in them)}", them[0])
        for value, them in of_class.items()
    ]
    if normal := sum(map(is_normal, parts)):
        lines.append((f"{found} found, {normal} called normal", TEXT))
    return lines + remarks(parts)


def _part(it: Classification) -> str:
    name = it.site.meaning.lower() if it.site else ""
    return f"{name} {100 * dict(it.probabilities).get(it.value, 0.0):.0f} %"


def _not_assessable(findings: Iterable[Finding]) -> list[Line]:
    """Give each reason once, with all that it kept from being answered."""
    names: dict[str, list[str]] = {}
    for it in findings:
        if isinstance(it, NotAssessable):
            names.setdefault(it.reason, []).append(spoken(it.name))
    return [(f"{', '.join(them)} not assessable: {reason}", TEXT) for reason, them in names.items()]
