"""Findings in words."""

import synthetic

from dicom_node.domain.finding import NotAssessable
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.result import NotAnalysed
from dicom_node.domain.summary import summarise

FRAME = FrameReference("1.2", "1.2.3", 4)


def test_every_kind_of_finding_is_said_once_and_outlines_are_not() -> None:
    said = summarise(synthetic.findings(FRAME, millimetres=False), ())
    assert [(line["name"], line["value"], line["unit"]) for line in said] == [
        ("Image View", "Transthalamic plane", None),
        ("Thalamus", 87.0, "%"),
        ("Nasal bone", 61.2, "%"),
        ("Head Circumference", 221.6, "px"),
        ("FL", "not assessable", None),
    ]
    assert said[3]["note"] == "the image has no calibrated ultrasound region"
    assert {line["frame"] for line in said} == {4}


def test_a_name_is_written_as_people_say_it() -> None:
    assert summarise([NotAssessable("planes", FRAME, "brain_plane", "unsure")], ())[0]["name"] == "brain plane"


def test_one_reason_for_many_frames_is_told_once() -> None:
    damaged = [NotAnalysed("1.2.3", "damaged", number) for number in (1, 2, 3)]
    said = summarise((), [*damaged, NotAnalysed("1.2.4", "no picture"), NotAnalysed("1.2.5", "damaged", 7)])
    assert [(line["instance"], line["frame"], line["note"]) for line in said] == [
        ("1.2.3", None, "frames 1, 2, 3: damaged"),
        ("1.2.4", None, "no picture"),
        ("1.2.5", 7, "damaged"),
    ]
