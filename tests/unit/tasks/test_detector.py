"""A detector's two looks, in picture pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dicom_node.domain.frame import Calibration, Frame, FrameReference
from dicom_node.tasks.structures.detector import Answer, Detector, View
from dicom_node.tasks.structures.net import STRUCTURES


class BrightSpot(nn.Module):
    """Finds the bright pixels: each place is one pixel of the input, its score the brightness, its box 8 x 4."""

    sizes: list[tuple[int, int]]

    def __init__(self) -> None:
        super().__init__()
        self.sizes = []

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        count, _, height, width = pictures.shape
        self.sizes.append((width, height))
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        box = torch.stack([x, y, torch.full_like(x, 8), torch.full_like(y, 4)]).reshape(4, -1).expand(count, -1, -1)
        scores = pictures[:, :1].reshape(count, 1, -1).expand(-1, len(STRUCTURES), -1)
        return (torch.cat([box, scores], dim=1),)


def test_both_looks_point_at_the_same_place_of_the_picture() -> None:
    pixels = np.zeros((120, 160, 3), dtype=np.uint8)
    pixels[28:36, 36:44] = 255
    frame = Frame(FrameReference("1.2", "1"), pixels, Calibration(reason="none"))
    net = BrightSpot()
    views = View(Answer(net), (128, 96), False, "cpu"), View(Answer(net), (192, 128), True, "cpu")
    ((first, second),) = Detector("spot", views).look([frame])
    assert net.sizes == [(128, 96), (192, 128)]
    for look in (first, second):
        middle = (look.boxes[0, :, :2] + look.boxes[0, :, 2:]) / 2
        bright = look.scores[0] > 0.99
        assert middle[bright].mean(axis=0) == pytest.approx([40, 32], abs=1.0)
    assert first.boxes[0, 0, 2:] - first.boxes[0, 0, :2] == pytest.approx([10, 5])  # 8 x 4 in an input of 0.8
