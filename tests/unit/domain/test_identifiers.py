import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.identifiers import printable, uid_fault


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "2.25." + "1" * 59, "1.2.03"])
def test_usable_uids(uid):
    assert uid_fault(uid) is None


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "1",
        "1..2",
        ".1.2",
        "1.2.",
        "1.2.x",
        "../../etc/passwd",
        "1.2/3",
        "1.2\x00",
        "1.2\n",
        "1." * 32 + "1",
        "\u0661.\u0662",
    ],
)
def test_unusable_uids_are_explained(uid):
    assert uid_fault(uid)


@given(st.text())
def test_what_is_printed_is_printable_and_short(value):
    shown = printable(value, 16)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 16
