"""Files that a person names: one that is damaged costs only itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import STUDY_UID, image, picture, write

from dicom_node.errors import BadInput
from dicom_node.pipeline.files import Stranger, expand, sort_into_studies
from dicom_node.results.identity import MODEL_NAME


@pytest.mark.filterwarnings("ignore::UserWarning")  # what pydicom remarks on damaged values
def test_a_file_cut_anywhere_costs_only_itself(tmp_path: Path) -> None:
    sound = write(image([picture(4, 4)], StudyDescription="Second trimester"), tmp_path / "sound.dcm")
    whole = sound.read_bytes()
    cut = tmp_path / "cut.dcm"
    kinds = set()
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        studies, strangers = sort_into_studies([cut, sound])
        assert sound in next(study for study in studies if study.study_instance_uid == STUDY_UID).files, length
        left_out = [it.path for it in strangers]
        assert (cut in left_out) != any(cut in study.files for study in studies), length
        kinds.add(cut in left_out)
    assert kinds == {True, False}  # cut before and after it says of which study it is


def test_files_are_sorted_into_their_studies(tmp_path: Path) -> None:
    second = write(image([picture(4, 4)], StudyInstanceUID="1.2.3"), tmp_path / "a.dcm")
    first = write(image([picture(4, 4)]), tmp_path / "b.dcm")
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    studies, strangers = sort_into_studies([first, letter, second])
    assert {study.study_instance_uid: study.files for study in studies} == {STUDY_UID: (first,), "1.2.3": (second,)}
    assert strangers == [Stranger(letter, "the file is not a DICOM instance of a study")]


@pytest.mark.parametrize("modality", ["SR", "OT", "SEG"])
def test_what_we_said_of_a_study_is_not_taken_for_an_image_of_it(tmp_path: Path, modality: str) -> None:
    own = {"ManufacturerModelName": MODEL_NAME, "Modality": modality, "ImageType": ["DERIVED", "SECONDARY"]}
    scanned = write(image([picture(4, 4)]), tmp_path / "scanned.dcm")
    said = write(image([picture(4, 4)], number=2, **own), tmp_path / "said.dcm")
    (study,), strangers = sort_into_studies([scanned, said])
    assert study.files == (scanned,)
    assert strangers == [Stranger(said, "a result of this software, not taken for an image")]


def test_what_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.dcm does not exist"):
        expand([tmp_path / "absent.dcm"])
