"""A simulated first trimester as a reader sees it, analysed with the shipped models: the words, and what they hide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from running import done

from dicom_node.results.caption import TEXT
from dicom_node.results.lettering import width_of, write
from dicom_node.results.paper import LIST, SMALL, WHITE
from dicom_node.simulator import sagittal_head, surroundings
from dicom_node.simulator.studies import demo_studies

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Grey = npt.NDArray[np.uint8]
SEED = 1
TISSUE = 40  #: grey value, over a few pixels, from which a picture shows more than the noise of a machine


@dataclass(frozen=True)
class Drawn:
    """A source and the overlay of it, with what was found and what the simulated machine wrote into it."""

    source: Grey
    letters: npt.NDArray[np.bool_]
    overlay: npt.NDArray[np.uint8]
    said: Sequence[dict[str, Any]]

    @property
    def words(self) -> npt.NDArray[np.bool_]:
        """Where the caption and the scale stand, with a little air."""
        ink = (self.overlay == TEXT).all(axis=2) & (self.source != TEXT[0])
        return np.asarray(cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)


@dataclass(frozen=True)
class Answer:
    """The summary page and the overlays of the stills."""

    page: npt.NDArray[np.uint8]
    stills: Sequence[Drawn]
    said: Sequence[dict[str, Any]]


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, npt.NDArray[np.bool_]]:
    """Make the studies once more, to learn what of each still is written by the machine; by SOP Instance UID."""
    written = []

    def burn_in(pixels: Grey, rng: np.random.Generator) -> Grey:
        burned = surroundings.burn_in(pixels, rng)
        written.append(np.abs(burned.astype(int) - pixels) > 100)
        return burned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sagittal_head, "burn_in", burn_in)
        study = demo_studies(tmp_path_factory.mktemp("once-more"), SEED)[0]
    return {it.sop_instance_uid: mask for it, mask in zip(study.instances, written, strict=True)}


@pytest.fixture(scope="module")
def answer(letters: dict[str, npt.NDArray[np.bool_]], tmp_path_factory: pytest.TempPathFactory) -> Answer:
    folder = tmp_path_factory.mktemp("overlays")
    done("simulate", "--seed", SEED, "--out", folder / "sources")
    sources = folder / "sources" / "1-first-trimester"
    told = json.loads(done("analyse", sources, "--out", folder / "results", "--json"))[0]
    pictures: dict[str, Path] = {}
    for kind, file in told["written"]:
        if kind == "secondary_capture":
            ds = pydicom.dcmread(file, stop_before_pixels=True)
            uids = {it.ReferencedSOPInstanceUID for it in ds.SourceImageSequence}
            pictures["page" if len(uids) > 1 else uids.pop()] = Path(file).with_suffix(".png")
    stills = []
    for file in sorted(sources.glob("*.dcm")):
        ds = pydicom.dcmread(file)
        if "NumberOfFrames" not in ds:
            uid = ds.SOPInstanceUID
            said = [it for it in told["summary"] if it["instance"] == uid]
            stills.append(Drawn(ds.pixel_array, letters[uid], read(pictures[uid]), said))
    return Answer(read(pictures["page"]), stills, told["summary"])


def read(picture: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(picture).convert("RGB"))


def says(picture: npt.NDArray[np.uint8], words: str, font_px: int, colour: tuple[int, int, int]) -> bool:
    """Tell whether words stand anywhere on a picture, in one size and colour: the hearts of their letters are there."""
    alone = np.zeros((font_px + 6, int(width_of(words, font_px)) + 6, 3), np.uint8)
    write(alone, (3, 2), words, colour, font_px)
    shown, sought = ((it == colour).all(axis=2).astype(np.uint8) for it in (picture, alone))
    return bool(cv2.matchTemplate(shown, sought, cv2.TM_CCOEFF_NORMED).max() > 0.97)


def caption_px(picture: npt.NDArray[np.uint8], words: str) -> int:
    """Give the size in which words stand on an overlay; 0 where they do not."""
    return next((px for px in range(28, 9, -1) if says(picture, words, px, TEXT)), 0)


def test_the_caption_covers_no_tissue_no_letters_and_no_structure(answer: Answer) -> None:
    for still in answer.stills:
        words = still.words
        assert words.sum() > 2000
        assert not (words & still.letters).any()
        tissue = cv2.blur(still.source, (9, 9)) > TISSUE
        assert tissue[words].mean() < 0.05
        assert tissue.mean() > 0.2  # there was something to cover


def test_the_caption_names_the_plane_and_counts_what_is_normal(answer: Answer) -> None:
    for still in answer.stills:
        (view,) = [it for it in still.said if it["name"] == "Image View"]
        size = caption_px(still.overlay, f"{view['value']} {view['note']}")
        assert size >= 10
        found = sum(it["note"] == "found" for it in still.said)
        judged = [it["value"] for it in still.said if it["name"].endswith(": normality")]
        assert judged
        assert says(still.overlay, f"{found} found, {judged.count('Normal')} called", size, TEXT)
        assert not any(says(still.overlay, it, size, TEXT) for it in ("Normal:", "midbrain", "fourth ventricle"))


def test_the_page_says_of_every_structure_how_normal_it_is(answer: Answer) -> None:
    shares: dict[str, list[int]] = {}
    for it in answer.said:
        if it["name"].endswith(": normality"):
            assert it["value"] == "Normal"
            shares.setdefault(it["name"], []).append(int(it["note"].split(" %")[0]))
    assert len(shares) == 9
    for of_one in shares.values():
        assert says(answer.page, f"normal {min(of_one)} %", SMALL, WHITE)
    for name in ("thalami", "nuchal translucency", "nasal bone"):
        assert says(answer.page, name, LIST, WHITE)
    assert not says(answer.page, "normal 12 %", SMALL, WHITE)
