"""Tissue, the scanner's own text, and what is free: on the simulator's phantoms, where that is known."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from dicom_node.results.ground import ECHO, ENCLOSED, LETTERS, ground_of
from dicom_node.simulator import axial_head, femur, sagittal_head, surroundings, trunk

GREY_BAR_COLUMNS = 10  # of the simulated machine: no letters


def sector(rows: int = 480, columns: int = 640, tissue: int = 90) -> npt.NDArray[np.uint8]:
    """Draw a sector of even tissue in a black picture, with a black pool within it."""
    picture = np.zeros((rows, columns, 3), np.uint8)
    cv2.fillPoly(picture, [np.array([(250, 20), (390, 20), (600, 460), (40, 460)])], (tissue,) * 3)
    cv2.circle(picture, (320, 300), 60, (0, 0, 0), -1)
    return picture


@pytest.mark.parametrize("black", [0, 14])
def test_the_corners_beside_the_sector_cost_nothing_and_a_pool_less_than_tissue(black: int) -> None:
    ground = ground_of(np.maximum(sector(), black).astype(np.uint8), 13)
    assert ground[100, 60] == ground[100, 580] == 0
    assert ground[400, 100] == ECHO
    assert ground[300, 320] == np.float32(ENCLOSED)


def test_dim_tissue_is_tissue() -> None:
    assert ground_of(sector(tissue=30), 13)[400, 100] > 0.9 * ECHO


@pytest.mark.parametrize(
    ("room", "draw"),
    [(sagittal_head, "sagittal_head"), (axial_head, "axial_head"), (femur, "femur"), (trunk, "abdomen")],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_what_the_scanner_wrote_is_seen(room, draw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def burn_in(pixels, rng):
        burned = surroundings.burn_in(pixels, rng)
        written.append(burned.astype(int) - pixels > 100)
        return burned

    monkeypatch.setattr(room, "burn_in", burn_in)
    seen, anatomy = [], []
    for seed in range(4):
        picture = getattr(room, draw)(np.random.default_rng(seed)).pixels
        letters = written.pop()
        letters[:, :GREY_BAR_COLUMNS] = False
        ground = ground_of(np.repeat(picture[:, :, np.newaxis], 3, axis=2), 13)
        seen.append(ground[letters] >= LETTERS)
        far = cv2.dilate(letters.astype(np.uint8), np.ones((25, 25))) == 0
        anatomy.append((ground >= LETTERS)[far].mean())
    assert np.concatenate(seen).mean() > 0.9
    assert max(anatomy) < 0.03  # bright specks of the anatomy are taken for letters now and then
