from __future__ import annotations

import dataclasses

import pytest

from dicom_node.config import Destination
from dicom_node.results.profile import DEFAULT_OBJECTS, SERIES_NUMBERS, Profile


def test_the_default_is_what_a_destination_gets_that_says_nothing() -> None:
    destination = Destination(name="pacs", ae_title="PACS", host="localhost", port=104)
    assert destination.send == DEFAULT_OBJECTS


def test_every_kind_has_a_series_of_its_own() -> None:
    numbers = [Profile().series_number(kind) for kind in SERIES_NUMBERS]
    assert len(set(numbers)) == len(numbers)
    assert Profile(series_numbers={"key_object": 12}).series_number("key_object") == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"objects": ("findings_sr",)},
        {"sr_class": "comprehensive_3d"},
        {"capture_modality": "US"},
        {"encoding": "jpeg"},
        {"private_codes": False},
        {"series_numbers": {"key_object": 12}},
    ],
    ids=str,
)
def test_whatever_is_written_differently_is_marked(changes: dict[str, object]) -> None:
    changed = dataclasses.replace(Profile(), **changes)  # type: ignore[arg-type]
    assert Profile().mark == ""
    assert changed.mark
    assert len({field.name for field in dataclasses.fields(Profile)}) == 6  # each has a row above


def test_the_order_of_objects_makes_no_difference() -> None:
    kinds = tuple(SERIES_NUMBERS)
    assert Profile(objects=kinds).mark == Profile(objects=kinds[::-1]).mark
