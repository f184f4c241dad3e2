"""SonoNet16, the published fetal plane network that ``planes`` is compared with in the same evaluation.

Baumgartner et al., "SonoNet: Real-Time Detection and Localisation of Fetal Standard Scan Planes in Freehand
Ultrasound", IEEE TMI 36(11), 2017. Its weights (Apache-2.0) lie beside the data or not at all; they are not shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

WEIGHTS = "weights/SonoNet16.pth"  #: beside the data folder
WIDTH, HEIGHT = 288, 224
#: Which of its 14 classes, in its order, belong to which of our planes.
CLASSES: dict[str, tuple[int, ...]] = {
    "brain": (4, 5),  # cerebellum, ventricles
    "abdomen": (2,),
    "femur": (6,),
    "thorax": (0, 1, 9, 11),  # three vessels, four chambers, both outflow tracts
}


class SonoNet16(nn.Module):
    """Grey pictures (batch, 1, 224, 288), each with mean 0 and deviation 255, to probabilities (batch, 14)."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((1, 16, 16), (16, 32, 32), (32, 64, 64, 64), (64, 128, 128, 128), (128, 128, 128, 128))
        self.features = nn.Sequential(*(_block(width) for width in widths))
        self.adaption = nn.Sequential(
            nn.Conv2d(128, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 14, 1, bias=False),
            nn.BatchNorm2d(14),
        )

    def forward(self, grey: Tensor) -> Tensor:
        """See the class."""
        features = grey
        for number, block in enumerate(self.features):
            features = block(nn.functional.max_pool2d(features, 2) if number else features)
        return torch.softmax(self.adaption(features).mean(dim=(2, 3)), dim=-1)


def sononet(data_dir: Path) -> SonoNet16 | None:
    """Give the published network, when its weights lie beside the data."""
    path = data_dir.parent / WEIGHTS
    if not path.is_file():
        return None
    net = SonoNet16()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(requires_grad=False)


def planes_by_sononet(
    net: SonoNet16, pictures: Sequence[npt.NDArray[np.uint8]], planes: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Give the probabilities (pictures, planes) of those planes that the network knows; the others have none."""
    seen = np.stack([_normalised(picture) for picture in pictures])
    with torch.inference_mode():
        scores = net(torch.from_numpy(seen)[:, None]).double().numpy()
    return np.stack([scores[:, CLASSES.get(plane, ())].sum(axis=1) for plane in planes], axis=1)


def _block(widths: Sequence[int]) -> nn.Sequential:
    layers: list[Any] = [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
        for before, after in pairwise(widths)
    ]
    return nn.Sequential(*layers)


def _normalised(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(255.0 * (small - small.mean()) / max(float(small.std()), 1e-6), dtype=np.float32)
