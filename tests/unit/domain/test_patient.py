"""Whose images a study holds."""

import pytest

from dicom_node.domain.patient import of_another


@pytest.mark.parametrize(
    ("patient_ids", "others"),
    [
        ([], set()),
        (["A"], set()),
        (["A", "A"], set()),
        (["", ""], set()),
        (["A", "", "A"], set()),  # who is not named contradicts nobody
        (["A", "A ", " A"], set()),  # padding is no part of an identifier (PS3.5 6.2)
        (["A", "B", "A"], {1}),
        (["B", "A", "A", ""], {0}),
        (["A", "B"], {1}),  # as many of each: the earliest
        (["B", "A", "C", "A", "B"], {1, 2, 3}),
        (["a", "A", "A"], {0}),
    ],
)
def test_who_disagrees_with_most(patient_ids: list[str], others: set[int]) -> None:
    assert of_another(patient_ids) == others
