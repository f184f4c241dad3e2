from __future__ import annotations

import numpy as np
import pytest

from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised


@pytest.mark.parametrize("shape", [(540, 800), (800, 540, 3), (100, 100), (31, 17)])
def test_a_square_keeps_its_shape_and_finds_its_way_back(shape: tuple[int, ...]) -> None:
    fit = Letterbox.fit(shape, 256, 192)
    corners = np.array([[0.0, 0.0], [float(shape[1]), float(shape[0])], [3.0, 7.0]])
    placed = corners @ fit.matrix[:, :2].T + fit.matrix[:, 2]
    assert (placed >= -1e-9).all()
    assert (placed <= np.array([256, 192]) + 1e-9).all()
    assert np.allclose(fit.to_picture(placed), corners)
    assert max(shape[1] * fit.scale / 256, shape[0] * fit.scale / 192) == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(256, 192), (640, 480), (224, 160)])
def test_a_spot_lands_where_the_matrix_says(size: tuple[int, int]) -> None:
    grey = np.zeros((480, 640), dtype=np.uint8)
    grey[200:216, 400:416] = 255
    seen = Letterbox.fit(grey.shape, *size)
    drawn = seen.apply(grey).astype(float)
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    centre = np.array([[(x * drawn).sum() / drawn.sum(), (y * drawn).sum() / drawn.sum()]])
    assert np.abs(seen.to_picture(centre) - [408.0, 208.0]).max() < 0.3


def test_what_lies_beside_the_picture_is_black() -> None:
    drawn = Letterbox.fit((100, 100), 256, 192).apply(np.full((100, 100), 200, dtype=np.uint8))
    assert drawn.shape == (192, 256)
    assert drawn[:, :30].max() == 0
    assert drawn[96, 128] == 200


def test_grey_and_normalised_values() -> None:
    rgb = np.full((4, 5, 3), 51, dtype=np.uint8)
    assert grey_of(rgb).tolist() == np.full((4, 5), 51).tolist()
    assert normalised(np.array([[0, 255]], dtype=np.uint8)) == pytest.approx(
        np.array([[-0.449 / 0.226, 0.551 / 0.226]]), abs=1e-5
    )


def test_batches_keep_order_and_lose_nothing() -> None:
    assert [list(batch) for batch in batches([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(batches([], 2)) == []
