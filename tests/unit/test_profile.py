from __future__ import annotations

import dataclasses

import pytest

from dicom_node.config import Destination
from dicom_node.profile import DEFAULT_OBJECTS, ESSENTIAL, SERIES_NUMBERS, Profile


def test_the_default_is_what_a_destination_gets_that_says_nothing() -> None:
    destination = Destination(name="pacs", ae_title="PACS", host="localhost", port=104)
    assert destination.send == DEFAULT_OBJECTS
    assert destination.profile == Profile()
    assert destination.profile.mark == ""


def test_the_settings_of_a_destination_are_its_profile() -> None:
    wishes = {
        "sr_class": "comprehensive_3d",
        "capture_modality": "US",
        "encoding": "jpeg",
        "private_codes": False,
        "series_numbers": {"segmentation": 1904},
    }
    kinds = ("findings_sr", "segmentation")
    destination = Destination.model_validate(
        {"name": "pacs", "ae_title": "PACS", "host": "localhost", "port": 104, "send": kinds, **wishes}
    )
    assert destination.profile == Profile(kinds, **wishes)  # type: ignore[arg-type]
    assert destination.profile.mark == (
        "objects=findings_sr+segmentation sr_class=comprehensive_3d capture_modality=US encoding=jpeg "
        "private_codes=False series_numbers=segmentation:1904"
    )


def test_every_kind_has_a_series_of_its_own() -> None:
    numbers = [Profile().series_number(kind) for kind in SERIES_NUMBERS]
    assert len(set(numbers)) == len(numbers)
    assert Profile(("key_object",), series_numbers={"key_object": 12}).series_number("key_object") == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"objects": ("findings_sr",)},
        {"sr_class": "comprehensive_3d"},
        {"capture_modality": "US"},
        {"encoding": "jpeg"},
        {"private_codes": False},
        {"series_numbers": {"findings_sr": 12}},
    ],
    ids=str,
)
def test_whatever_is_written_differently_is_marked(changes: dict[str, object]) -> None:
    changed = dataclasses.replace(Profile(), **changes)  # type: ignore[arg-type]
    assert changed.mark
    assert len({field.name for field in dataclasses.fields(Profile)}) == 6  # each has a row above


def test_the_same_wish_is_the_same_profile_however_it_is_written_down() -> None:
    kinds = tuple(SERIES_NUMBERS)
    assert Profile(objects=kinds) == Profile(objects=(*kinds[::-1], "findings_sr"))
    assert Profile(series_numbers={"findings_sr": 901, "key_object": 12}) == Profile()  # no key object is wanted


def test_no_answer_is_one_without_its_reports_and_captures() -> None:
    assert set(SERIES_NUMBERS) - ESSENTIAL == {"segmentation", "cine_capture", "presentation_state", "key_object"}
