"""The page says what it must: read back as the words that were written on it, and where."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
import synthetic as s

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding, Graphic, Measurement
from dicom_node.domain.frame import Calibration, Frame, Region
from dicom_node.domain.result import NotAnalysed, StudyAnalysis
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.results import growth_chart, paper, structure_list, summary_page
from dicom_node.results.growth_chart import charts_of, draw_chart, percentile_words
from dicom_node.results.lettering import width_of
from dicom_node.results.paper import HEIGHT, SMALL, WIDTH
from dicom_node.results.summary_page import draw_page
from dicom_node.results.suspicion import is_suspicious

FRAME = s.reference(s.header())
NORMALITY, NORMAL = Concept("121402", "DCM", "Normality"), Concept("17621005", "SCT", "Normal")
ABNORMAL = Concept("263654008", "SCT", "Abnormal")
UNDETERMINED = Concept("371934000", "SCT", "Normality Undetermined")
DETECTOR = tuple(
    dataclasses.replace(it, detects=("thalami", "nasal bone", "palate") if it.task == "structures" else ())
    for it in s.ALGORITHMS
)
#: Twenty weeks before the day of the examination.
DATED = ScannerReport("1.2", date(2026, 1, 2), last_menstrual_period=date(2025, 8, 15))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float, int]]:
    """Collect what is written: text, x, y, font size."""
    written: list[tuple[str, float, float, int]] = []
    for module in (paper, growth_chart):
        real = module.write

        def write(picture, at, text, colour, font_px, *, rimmed=True, real=real):
            written.append((text, *at, font_px))
            real(picture, at, text, colour, font_px, rimmed=rimmed)

        monkeypatch.setattr(module, "write", write)
    return written


def page(*findings: Finding, **changes: object) -> StudyAnalysis:
    analysis = s.analysis(findings or s.findings(FRAME), **({"algorithms": DETECTOR} | changes))
    frame = Frame(FRAME, s.picture(), Calibration((Region(0, 0, 159, 119, 0.2, 0.2),)))
    picture = draw_page(analysis, [s.image()], [frame])
    assert picture.shape == (HEIGHT, WIDTH, 3)
    return analysis


def size(name: str, value: float) -> Measurement:
    graphic = Graphic("polyline", ((10.0, 60.0), (100.0, 60.0)))
    return Measurement("biometry", FRAME, name, s.HEAD_CIRCUMFERENCE, value, "mm", graphic, s.HEAD)


def said(words: list[tuple[str, float, float, int]]) -> str:
    return " ".join(text for text, *_ in words)


def test_it_says_what_was_seen_found_and_missing(words) -> None:
    page()
    assert "Transthalamic plane 93 %" in said(words)
    assert "2 of 3 found" in said(words)
    assert "palate not found" in said(words)
    assert "AI RESULT, NOT FOR MEASUREMENT, INVESTIGATIONAL" in said(words)
    assert "FL: the plane shows no femur" in said(words)
    assert "Doe" not in said(words)


def test_two_pictures_of_one_plane_are_told_apart(words) -> None:
    stills = [s.header(s.US_IMAGE, 3), s.header(s.US_IMAGE, 4)]
    cine = s.header(s.US_MULTI_FRAME, 5)
    seen = [s.reference(stills[0]), s.reference(stills[1]), s.reference(cine, 12)]
    del stills[1].InstanceNumber
    frames = [Frame(it, s.picture(), Calibration((Region(0, 0, 159, 119, 0.2, 0.2),))) for it in seen]
    draw_page(s.analysis([it for ref in seen for it in s.findings(ref)]), [*stills, cine], frames)
    places = [text for text, *_, px in words if text.startswith(("image ", "frame ")) and px == SMALL]
    assert sorted(places) == ["image 3", "image 5, frame 12"]


def test_ages_by_each_size_and_by_all_and_why_one_has_none(words) -> None:
    page(*s.sizes(FRAME), scanner_report=DATED)
    assert "HC 266.0 mm 29 w 0 d > 99th percentile" in said(words)
    assert "BPD 74.0 mm   OFD" in said(words)
    assert "BPD: the BPD is measured outer to outer" in said(words)
    assert "HC, AC, FL  28 w 2 d" in said(words)
    right_edge = 868 - 8
    assert not [it for it in words if 402 < it[1] < 868 and it[2] > 370 and it[1] + width_of(it[0], it[3]) > right_edge]


def test_a_structure_without_a_class_beside_others_that_have_one_is_not_marked_as_normal(monkeypatch) -> None:
    marks: list[tuple[int, int, int]] = []
    mark = structure_list._mark
    monkeypatch.setattr(
        structure_list,
        "_mark",
        lambda card, *, filled, colour: marks.append(colour) or mark(card, filled=filled, colour=colour),
    )
    page()
    assert marks == [paper.GOOD, paper.GOOD, paper.GREY]  # nothing was judged
    marks.clear()
    page(*s.findings(FRAME), category(s.NASAL_BONE, NORMAL, (NORMAL, 0.9)))
    assert marks == [paper.WHITE, paper.GOOD, paper.GREY]


def test_without_dates_it_says_so_instead_of_a_chart(words) -> None:
    page(size("HC", 170.0), size("AC", 150.0))
    assert "HC 170.0 mm" in said(words)
    assert "No growth chart" in said(words)
    assert "Neither the last menstrual period nor the day of delivery is known." in said(words)


def test_with_dates_sizes_have_percentiles_and_charts(words) -> None:
    page(size("HC", 176.0), size("AC", 150.0), size("FL", 33.0), size("BPD", 47.0), scanner_report=DATED)
    assert "Age by dates 20 w 0 d" in said(words)
    for name in ("HC, mm:", "AC, mm:", "FL, mm:", "EFW, g:"):
        assert name in said(words)
    assert "BPD, mm:" not in said(words)  # measured otherwise than the table


def test_sizes_in_pixels_are_given_with_the_reason(words) -> None:
    page(*s.findings(FRAME, millimetres=False))
    assert "None in millimetres." in said(words)
    assert "HC 222 pixels" in said(words)
    assert "no calibrated ultrasound region" in said(words)


def test_structures_that_were_not_looked_for_are_not_called_missing(words) -> None:
    page(*[it for it in s.findings(FRAME) if it.task != "structures"])
    assert "Not looked for: no plane that shows them was seen." in said(words)
    assert "not found" not in said(words).replace("Not found does not mean absent", "")


def test_an_anomaly_stands_first_among_the_answers(words) -> None:
    page(*s.findings(FRAME), *s.anomaly(FRAME))
    assert "Encephalocele, 80 %, 1 frame" in said(words)
    assert is_suspicious(s.anomaly(FRAME)[0])


def test_no_answer_is_not_taken_for_normal(words) -> None:
    page()
    assert "Normal or not: no answer" in said(words)


@pytest.mark.parametrize(("value", "suspicious"), [(NORMAL, False), (ABNORMAL, True), (UNDETERMINED, False)])
def test_a_part_that_is_not_normal_is_an_answer(words, value: Concept, *, suspicious: bool) -> None:
    shares = ((NORMAL, 0.1), (ABNORMAL, 0.1), (UNDETERMINED, 0.1))
    part = Classification(
        "structures", (FRAME,), "nasal_bone_category", NORMALITY, value, "x", shares, site=s.NASAL_BONE
    )
    page(*s.findings(FRAME), part)
    assert is_suspicious(part) is suspicious
    assert (f"{ABNORMAL.meaning} nasal bone 10 %" in said(words)) is suspicious
    assert f"{value.meaning.lower()} 10 %" in said(words)


def abnormal(*sites: str) -> list[Finding]:
    shares = ((NORMAL, 0.1), (ABNORMAL, 0.9))
    return [
        Classification(
            "structures", (FRAME,), "category", NORMALITY, ABNORMAL, "x", shares, site=Concept(site, "99X", site)
        )
        for site in sites
    ]


def test_an_anomaly_of_the_study_stands_first_and_all_abnormal_parts_with_it(words) -> None:
    sites = ("Thalamus", "Midbrain", "Palate", "Fourth ventricle", "Cisterna magna", "Nasal bone")
    page(*abnormal(*sites), *s.anomaly(FRAME))
    text = said(words)
    assert "Encephalocele" in text
    assert all(f"{site.lower()} 90 %" in text for site in sites)
    assert text.index("Encephalocele") < text.index("thalamus 90 %")
    assert "more, see the report" not in text


def category(site: Concept, value: Concept, *shares: tuple[Concept, float]) -> Classification:
    return Classification("structures", (FRAME,), "category", NORMALITY, value, "x", shares, site=site)


def test_a_structure_stands_with_its_class_of_the_frame_where_it_is_least_normal(words) -> None:
    shares = [((NORMAL, 0.9), (ABNORMAL, 0.1)), ((NORMAL, 0.7), (ABNORMAL, 0.3))]
    page(*s.findings(FRAME), *(category(s.THALAMI, NORMAL, *given) for given in shares))
    assert "thalami 87 % normal 70 %" in said(words)
    assert "nasal bone 61 % no class" in said(words)


def test_no_answer_is_lost_that_is_of_no_listed_structure(words) -> None:
    side, left = Concept("272741003", "SCT", "Laterality"), Concept("7771000", "SCT", "Left")
    elsewhere = category(Concept("80891009", "SCT", "Heart"), NORMAL, (NORMAL, 0.8), (ABNORMAL, 0.2))
    graded = Classification("fifth", (FRAME,), "side", side, left, "left", ((left, 0.6),), site=s.THALAMI)
    page(*s.findings(FRAME), elsewhere, graded)
    assert "Normal heart 80 %" in said(words)
    assert "Left thalamus 60 %" in said(words)


def test_an_answer_to_each_of_several_frames_says_how_sure_from_the_least_to_the_most(words) -> None:
    quality, standard = Concept("Q", "99X", "Quality of the plane"), Concept("S", "99X", "Standard plane")
    each = [
        Classification("structures", (FRAME,), "quality", quality, standard, "standard", ((standard, share),))
        for share in (0.962, 0.775, 0.78)
    ]
    page(*s.findings(FRAME), *each)
    assert "Standard plane, 78 to 96 %, 3 frames" in said(words)


def test_structures_without_room_are_counted(words) -> None:
    names = tuple(f"structure {number}" for number in range(30))
    page(algorithms=[dataclasses.replace(it, detects=names if it.detects else ()) for it in DETECTOR])
    shown = sum(name in (text for text, *_ in words) for name in names)
    assert 10 < shown < 30
    assert f"and {30 - shown} more, see the report" in said(words)


#: Where OHIF writes over a page that fills its viewport on a screen of 1280 x 720: the date and the name of the series,
#: the window, the number of the image, and the buttons of a cine. In pixels of the page.
WRITTEN_OVER = {"series": (0, 0, 425, 86), "window": (0, 900, 160, 960), "number": (1180, 900, 1280, 960),
                "cine": (515, 38, 765, 86)}  # fmt: skip


def test_viewers_write_over_nothing_that_matters(words) -> None:
    page(*s.findings(FRAME), *s.anomaly(FRAME), scanner_report=DATED)
    assert "AI summary of the study" in said(words)
    for text, x, y, font_px in words:
        right, bottom = x + width_of(text, font_px), y + font_px
        for what, box in WRITTEN_OVER.items():
            assert min(right, box[2]) <= max(x, box[0]) or min(bottom, box[3]) <= max(y, box[1]), (text, what)


def test_answers_without_room_are_counted_in_colour(words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_page, "_LOWEST", 500)
    monkeypatch.setattr(summary_page, "_USUAL", 500)
    page(*abnormal(*(f"A structure with a very long name, number {n}" for n in range(9))), *s.anomaly(FRAME))
    assert "Encephalocele" in said(words)
    assert "and 1 more, see the report" in said(words)


def test_everything_fits_onto_the_page_however_much_goes_wrong(words) -> None:
    reasons = [NotAnalysed(f"1.2.{n}", f"{'a long reason that wraps over lines ' * 3}{n}") for n in range(30)]
    many = [size(name, 40.0 + n) for n, name in enumerate(("HC", "BPD", "OFD", "AC", "FL"))]
    page(*s.findings(FRAME), *many, *s.anomaly(FRAME), not_analysed=tuple(reasons), scanner_report=DATED)
    assert "more, see the report" in said(words)
    for text, x, y, font_px in words:
        assert x >= 0, text
        assert y >= 0, text
        assert x + width_of(text, font_px) <= WIDTH, text
        assert y + font_px <= HEIGHT, text
        assert font_px >= 14, text


def test_a_study_of_which_nothing_could_be_analysed_has_a_page_too(words) -> None:
    draw_page(s.analysis((), [NotAnalysed("1.2", "no decoder for MPEG-4")], algorithms=()), [s.image()], [])
    assert "No plane of interest was seen." in said(words)
    assert "image: no decoder for MPEG-4" in said(words)
    assert "Models: none" in said(words)


def test_the_point_of_a_fetus_lies_where_its_age_and_size_are() -> None:
    analysis = s.analysis([size("HC", 176.0)], scanner_report=DATED)
    assessment = summary_page.assess(analysis.findings, analysis.scanner_report)
    (chart,) = charts_of(assessment.derivations, {"HC": 176.0}, 140.0)
    assert chart.expected(20.0, 0.0) == pytest.approx(176.8, abs=0.5)  # Hadlock 1984, table III
    assert chart.percentile == pytest.approx(48, abs=4)

    def point(**changes: float) -> tuple[float, float]:
        picture = np.zeros((300, 300, 3), np.uint8)
        x, y = draw_chart(picture, dataclasses.replace(chart, **changes), (0, 0), (300, 300))
        assert picture[round(y), round(x)].max() > 200
        return x, y

    x, y = point()
    assert point(value=190.0)[1] < y  # higher up
    assert point(age_weeks=38.0)[0] > x  # the last weeks of the table


@pytest.mark.parametrize(
    ("percent", "words_of_it"),
    [(0.2, "< 1st percentile"), (1.0, "1st percentile"), (11.6, "12th percentile"), (13, "13th percentile"),
     (42.4, "42nd percentile"), (93, "93rd percentile"), (99.8, "> 99th percentile")],
)  # fmt: skip
def test_percentiles_in_words(percent: float, words_of_it: str) -> None:
    assert percentile_words(percent) == words_of_it
