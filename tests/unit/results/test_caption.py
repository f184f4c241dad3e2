"""The words on an overlay: what a reader must see beside the picture, and no more."""

from __future__ import annotations

import synthetic as s

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Detection, Finding, NotAssessable
from dicom_node.results.caption import DOUBT, TEXT, caption

FRAME = s.reference(s.header())
NORMALITY, NORMAL = Concept("121402", "DCM", "Normality"), Concept("17621005", "SCT", "Normal")
BORDERLINE, ABNORMAL = Concept("111848", "DCM", "Borderline"), Concept("263654008", "SCT", "Abnormal")
LEARNED = "learned from simulated images"


def found(*sites: str) -> list[Finding]:
    concepts = [Concept(site, "99X", site) for site in sites]
    return [Detection("structures", FRAME, it.meaning, it, it, (0.0, 0.0, 9.0, 9.0), 0.5) for it in concepts]


def category(site: str, value: Concept, share: float = 0.9) -> Classification:
    shares = tuple((it, share if it == value else (1 - share) / 2) for it in (NORMAL, BORDERLINE, ABNORMAL))
    return Classification(
        "structures", (FRAME,), f"{site}_category", NORMALITY, value, "x", shares,
        site=Concept(site, "99X", site.capitalize()), qualifier=f"{LEARNED} only, and never tried", caveat=LEARNED,
    )  # fmt: skip


def whole(value: Concept, caveat: str | None = None, frames: int = 1) -> Classification:
    shares = ((s.NO_ANOMALY, 0.3), (s.ENCEPHALOCELE, 0.7))
    frame = (FRAME,) * frames
    return Classification("anomalies", frame, "anomaly", s.CNS, value, "x", shares, None, "in many words", caveat)


def words(*findings: Finding) -> list[str]:
    colours = {finding.name: TEXT for finding in findings if not isinstance(finding, Classification)}
    return [text for text, _ in caption(findings, colours)]


def test_what_is_normal_is_counted_and_what_is_not_is_named_first() -> None:
    sites = ("thalamus", "midbrain", "palate", "nose")
    judged = [category("thalamus", NORMAL), category("midbrain", NORMAL), category("palate", ABNORMAL, 0.6)]
    assert words(*found(*sites), *judged) == [
        "Abnormal: palate 60 %",
        "4 found, 2 called normal",  # of the fourth nothing is known
        f"({LEARNED})",
    ]


def test_what_is_not_normal_has_the_colour_of_doubt() -> None:
    lines = dict(caption([*found("palate"), category("palate", BORDERLINE), whole(s.ENCEPHALOCELE)], {}))
    assert lines["Borderline: palate 90 %"] == lines["Encephalocele 70 %"] == DOUBT
    assert dict(caption([whole(s.NO_ANOMALY)], {}))["No abnormality detected 30 %"] == TEXT


def test_an_answer_has_its_caveat_in_few_words_and_the_number_of_its_frames() -> None:
    assert words(whole(s.ENCEPHALOCELE, LEARNED, 14)) == ["Encephalocele 70 %", f"(14 frames, {LEARNED})"]
    assert words(whole(s.ENCEPHALOCELE)) == ["Encephalocele 70 %", "(in many words)"]
    assert words(whole(s.ENCEPHALOCELE, "")) == ["Encephalocele 70 %"]


def test_the_most_particular_plane_and_the_sizes_come_first() -> None:
    brain = Concept("BRAIN", "99X", "Axial view of fetal brain")
    gate = Classification("planes", (FRAME,), "plane", s.IMAGE_VIEW, brain, "brain", ((brain, 0.99),))
    assert words(gate, *s.findings(FRAME))[:2] == ["Transthalamic plane 93 %", "HC  44.3 mm"]
    assert words(gate, *s.findings(FRAME, millimetres=False))[1:3] == ["HC  222 px", "(no scale)"]


def test_a_reason_is_given_once_for_all_that_it_concerns() -> None:
    reason = "no category reaches a probability of 50 %"
    unsure = [NotAssessable("structures", FRAME, f"{site}_category", reason) for site in ("palate", "nose")]
    assert words(*unsure) == [f"palate category, nose category not assessable: {reason}"]
