"""Reports for readers that refuse private codes: what no published code says is said in words instead."""

from __future__ import annotations

from pydicom import Dataset

from dicom_node.results import codes

ASKED = ": "  #: stands between a question and its answer


def say_in_words(content: Dataset) -> None:
    """Turn every coded value of our own scheme into text, at any depth and in place (PS3.3 C.18.3).

    A name of our own becomes "Finding", and stands in words before what was answered.
    """
    for item in content.get("ContentSequence", []):
        name, value = item.get("ConceptNameCodeSequence"), item.get("ConceptCodeSequence")
        asked = f"{name[0].CodeMeaning}{ASKED}" if name and _is_private(name[0]) else ""
        if asked:
            item.ConceptNameCodeSequence = [codes.code_item(codes.FINDING)]
        if value and (asked or _is_private(value[0])):
            item.ValueType = "TEXT"
            item.TextValue = asked + str(value[0].CodeMeaning)
            del item.ConceptCodeSequence
        say_in_words(item)


def _is_private(code: Dataset) -> bool:
    return bool(code.get("CodingSchemeDesignator") == codes.PRIVATE_SCHEME)
