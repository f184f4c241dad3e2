"""No validator checks a Code Meaning, so ours are compared with pydicom's dictionary (PS3.16 2024c)."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts

from dicom_node.domain.concept import Concept
from dicom_node.results import codes

OURS = [value for value in vars(codes).values() if isinstance(value, Concept)]
OURS += [*codes.UNITS.values(), *codes.MATERNAL]
PUBLISHED = {
    (scheme, value): meaning
    for scheme, keywords in concepts.items()
    for entries in keywords.values()
    for value, (meaning, _) in entries.items()
}
#: What the dictionary lacks, or names by SNOMED's fully specified name or by another of its context groups.
ELSEWHERE = {
    codes.OBSTETRIC_ULTRASOUND: "PS3.16 CID 12024",
    codes.NO_ABNORMALITY: "SNOMED CT, in value sets of HL7",
    codes.UNITS["{pixels}"]: "PS3.16 CID 84",
    codes.UNITS["d"]: "PS3.16 TID 5008",
    codes.UNITS["g"]: "UCUM",
    codes.MEAN: "PS3.16 CID 3627",
    codes.FETUS_ID: "PS3.16 TID 1008",
    codes.SOURCE: "PS3.16 TID 320",
    codes.FINDING_CATEGORY: "PS3.16 TID 1501",
    codes.ANATOMY_SURVEY: "PS3.16 TID 5030, since 2025",
}


@pytest.mark.parametrize("concept", OURS, ids=str)
def test_the_meaning_is_the_published_one(concept: Concept) -> None:
    if concept.scheme == codes.PRIVATE_SCHEME:
        assert len(concept.value) <= 16
    elif concept not in ELSEWHERE:
        assert PUBLISHED[(concept.scheme, concept.value)].lower() == concept.meaning.lower()
