from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from dicom_node.errors import BadInput
from dicom_node.simulator.changed_heads import write_changed_heads
from dicom_node.simulator.changes import CHANGES, Boxes, change_head, change_structure
from dicom_node.simulator.datasets import write_dataset
from dicom_node.simulator.retouching import dark_line, fill, widen
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.speckle import GreyImage

HEAD = sagittal_head(np.random.default_rng(1))


def band_picture(thickness: int) -> GreyImage:
    """Grey tissue with a black band under and over white lines."""
    pixels = np.full((200, 300), 90, dtype=np.uint8)
    pixels[100 - 4 : 100], pixels[100 + thickness : 104 + thickness] = 240, 240
    pixels[100 : 100 + thickness] = 5
    return pixels


def dark_rows(pixels: GreyImage, column: int = 150) -> int:
    return int((pixels[80:160, column] < 45).sum())


BAND: Boxes = {
    "nuchal_translucency": (60.0, 95.0, 240.0, 117.0),
    "cisterna_magna": (60.0, 95.0, 240.0, 117.0),
    "palate": (0.0, 10.0, 40.0, 30.0),
}


@pytest.mark.parametrize("category", ["borderline", "abnormal"])
def test_a_thick_band_grows_by_its_factor_and_so_does_its_box(category: str) -> None:
    pixels = band_picture(12)
    changed = change_structure(pixels, BAND, "nuchal_translucency", category, np.random.default_rng(2))  # type: ignore[arg-type]
    low, high = CHANGES["nuchal_translucency"][0][category][0]  # type: ignore[index]
    grown = dark_rows(changed.pixels) - dark_rows(pixels)
    assert 0.8 * (low - 1.0) * 12 - 1 <= grown <= 1.2 * (high - 1.0) * 12 + 2
    assert changed.boxes["nuchal_translucency"][3] - 117.0 == pytest.approx(grown, abs=2.5)
    assert changed.boxes["nuchal_translucency"][:3] == BAND["nuchal_translucency"][:3]


def test_what_is_not_near_a_change_stays_as_it_was() -> None:
    pixels = band_picture(12)
    changed = change_structure(pixels, BAND, "nuchal_translucency", "abnormal", np.random.default_rng(2))
    assert np.array_equal(changed.pixels[:90], pixels[:90])
    assert np.array_equal(changed.pixels[:, 299], pixels[:, 299])
    assert changed.boxes["palate"] == BAND["palate"]


def test_a_cisterna_magna_becomes_wide_or_narrow() -> None:
    before = dark_rows(band_picture(12))
    after = [
        dark_rows(
            change_structure(band_picture(12), BAND, "cisterna_magna", "abnormal", np.random.default_rng(n)).pixels
        )
        for n in range(12)
    ]
    assert any(rows < 0.6 * before for rows in after)
    assert any(rows > 1.6 * before for rows in after)
    assert all(rows < 0.6 * before or rows > 1.6 * before for rows in after)


@pytest.mark.parametrize("structure", ["nasal_bone", "nasal_tip"])
def test_an_echo_is_gone_or_shorter_and_its_box_with_it(structure: str) -> None:
    x0, y0, x1, y1 = (round(edge) for edge in HEAD.boxes[structure])
    bright = HEAD.pixels[y0 : y1 + 1, x0 : x1 + 1].mean()
    gone = short = 0
    for number in range(8):
        changed = change_structure(HEAD.pixels, HEAD.boxes, structure, "abnormal", np.random.default_rng(number))
        assert changed.pixels[y0 : y1 + 1, x0 : x1 + 1].mean() < bright
        if structure in changed.boxes:
            short += 1
            assert changed.boxes[structure][2] - changed.boxes[structure][0] < 0.5 * (x1 - x0)
        else:
            gone += 1
    assert gone
    assert short


def test_an_obliterated_ventricle_loses_its_box_and_its_darkness() -> None:
    x0, y0, x1, y1 = (round(edge) for edge in HEAD.boxes["fourth_ventricle"])
    changes = [
        change_structure(HEAD.pixels, HEAD.boxes, "fourth_ventricle", "abnormal", np.random.default_rng(n))
        for n in range(6)
    ]
    gone = [changed for changed in changes if "fourth_ventricle" not in changed.boxes]
    assert gone
    middle = slice((y0 + y1) // 2 - 2, (y0 + y1) // 2 + 3), slice(x0 + 5, x1 - 5)
    assert gone[0].pixels[middle].mean() > HEAD.pixels[middle].mean()


def test_normal_structures_keep_their_boxes_nearly() -> None:
    for structure in CHANGES:
        changed = change_structure(HEAD.pixels, HEAD.boxes, structure, "normal", np.random.default_rng(4))
        assert np.allclose(changed.boxes[structure], HEAD.boxes[structure], atol=4.0)


def test_a_change_is_pure_and_repeatable() -> None:
    before = HEAD.pixels.copy()
    first, categories = change_head(HEAD.pixels, HEAD.boxes, np.random.default_rng(3))
    again, _ = change_head(HEAD.pixels, HEAD.boxes, np.random.default_rng(3))
    assert np.array_equal(HEAD.pixels, before)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.boxes == again.boxes
    assert set(categories) == set(CHANGES) & set(HEAD.boxes)


def test_structures_without_a_method_cannot_be_changed() -> None:
    with pytest.raises(KeyError):
        change_structure(HEAD.pixels, HEAD.boxes, "thalami", "abnormal", np.random.default_rng(0))


def test_the_middle_of_a_bent_band_is_found() -> None:
    pixels = np.full((120, 200), 120, dtype=np.uint8)
    row = 50.0 + 10.0 * np.linspace(-1.0, 1.0, 160) ** 2
    for k, middle in enumerate(row):
        pixels[round(middle) - 4 : round(middle) + 5, 20 + k] = 8
    line, thickness = dark_line(pixels, (20.0, 40.0, 179.0, 70.0))
    assert np.abs(line - row).mean() < 2.0
    assert thickness == pytest.approx(9.0, abs=2.5)


def test_boxes_move_with_what_they_hold() -> None:
    pixels = np.zeros((200, 100), dtype=np.uint8)
    pixels[105:109, 20:80] = 255  # just under the stretched band
    warped, moved = widen(pixels, (10.0, 89.0), np.full(80, 90.0), 10.0, 12.0)
    rows = np.flatnonzero(warped[:, 50] > 128)
    box = moved((45.0, 105.0, 55.0, 108.0))
    assert rows[0] == pytest.approx(box[1], abs=1.5)
    assert rows[-1] == pytest.approx(box[3], abs=1.5)


def test_filled_tissue_has_the_level_and_grain_of_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.normal(0.0, 1.0, (120, 160)), (0, 0), 1.5)
    pixels = np.clip(80.0 + 20.0 * grain / grain.std(), 0, 255).astype(np.uint8)
    pixels[50:60, 60:100] = 250
    filled = fill(pixels, (60.0, 50.0, 99.0, 59.0), rng)[50:60, 60:100].astype(float)
    assert filled.mean() == pytest.approx(80.0, abs=15.0)
    assert 5.0 < filled.std() < 30.0


def test_changed_heads_follow_their_originals(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"head_structures": 4}, seed=3)
    write_changed_heads(tmp_path / "data", tmp_path / "out", 6, seed=1)
    folder = tmp_path / "out/head_structures"
    with (folder / "planes.csv").open(encoding="utf-8") as file:
        planes = {row["image"]: row for row in csv.DictReader(file)}
    with (folder / "categories.csv").open(encoding="utf-8") as file:
        categories = list(csv.DictReader(file))
    with (folder / "boxes.csv").open(encoding="utf-8") as file:
        boxed = {(row["image"], row["structure"]) for row in csv.DictReader(file)}
    assert len(planes) == 6
    for image, row in planes.items():
        assert (tmp_path / "data/head_structures/images" / f"{row['origin']}.jpg").is_file()
        picture = cv2.imread(str(folder / "images" / image), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        assert picture.shape == (int(row["height"]), int(row["width"]))
    for row in categories:
        assert row["origin"] == planes[row["image"]]["origin"]
        assert ((row["image"], row["structure"]) in boxed) == (row["absent"] == "0")


def test_a_folder_without_heads_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        write_changed_heads(tmp_path, tmp_path / "out", 1, seed=1)
