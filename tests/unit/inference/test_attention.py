"""Heat maps lie where the features are that spoke for a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dicom_node.inference.attention import GRID, METHODS, Attention

PICTURE, INPUT = (60, 80), (96, 64)
CHANNELS, FOR_IT, AGAINST_IT = 3, 0, 1


def head() -> tuple[nn.Module, ...]:
    """The first class is read from the first channel, and the second channel speaks against it."""
    classify = nn.Linear(CHANNELS, 2)
    with torch.no_grad():
        classify.weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]))
        classify.bias.zero_()
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), classify.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_lies_where_its_features_are(method: str) -> None:
    # One place of the features speaks, at column 2 of 3 and row 0 of 2: the input's right upper part.
    features = np.zeros((1, CHANNELS, 2, 3), dtype=np.float32)
    features[0, FOR_IT, 0, 2] = 1.0
    (heat,) = Attention(*head(), method=method).maps(features, np.array([0]), [PICTURE], INPUT)
    assert heat.shape == GRID
    assert heat.min() == 0.0
    assert heat.max() == pytest.approx(1.0, abs=0.01)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    # 80 x 60 lies in 96 x 64 at a scale of 64/60, 5.3 px from the left: the middle of that place, 80 px from the left,
    # is at 70 of the picture's 80 columns, 16 px from the top at 15 of its 60 rows.
    assert column / GRID[1] == pytest.approx(70 / 80, abs=0.04)
    assert row / GRID[0] <= 15 / 60


@pytest.mark.parametrize("method", METHODS)
def test_what_speaks_against_a_class_is_not_warm(method: str) -> None:
    features = np.zeros((2, CHANNELS, 2, 3), dtype=np.float32)
    features[:, AGAINST_IT, 1, 1] = 1.0
    features[1, FOR_IT, 0, 0] = 1.0
    nothing, something = Attention(*head(), method=method).maps(features, np.array([0, 0]), [PICTURE] * 2, INPUT)
    assert nothing.max() == 0.0
    assert np.unravel_index(something.argmax(), GRID)[0] < GRID[0] // 2


def test_the_stride_says_how_large_a_place_is() -> None:
    features = np.zeros((1, CHANNELS, 4, 6), dtype=np.float32)
    features[0, FOR_IT, 3, 5] = 1.0
    (heat,) = Attention(*head(), stride=16).maps(features, np.array([0]), [PICTURE], INPUT)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row / GRID[0], column / GRID[1]) > (0.8, 0.9)
