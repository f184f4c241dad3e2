"""Where a network looked, over the whole picture: class activation by gradients, by the package ``grad-cam``.

Grad-CAM (Selvaraju et al., ICCV 2017) weighs whole channels of the features, HiResCAM (Draelos and Carin 2020) each
place of them: it shows the places that the class was read from, and is the same where only a mean follows the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam import GradCAM, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from dicom_node.inference.letterbox import Letterbox

GRID = (24, 32)  #: rows and columns of a map, spread over the picture
METHODS = {"Grad-CAM": GradCAM, "HiResCAM": HiResCAM}


class Attention:
    """Explains one network.

    Gradients are needed only from the logits back to the features, so the part of the network between them is run
    again, over features that were made once, without gradients.

    :ivar method: how the maps are made.
    """

    def __init__(self, *head: nn.Module, method: str = "Grad-CAM", stride: int = 32) -> None:
        """Take what follows the features in a network, layer by layer, up to the logits.

        :param stride: pixels of the input per place of the features.
        """
        self.method = method
        self._stride = stride
        self._features = nn.Identity()
        self._head = nn.Sequential(self._features, *head).eval()
        self._device = next(self._head.parameters()).device
        self._one_at_a_time = Lock()  # the package hangs itself into the head while it explains

    def maps(
        self,
        features: npt.NDArray[np.float32],
        classes: npt.NDArray[np.integer],
        shapes: Sequence[tuple[int, ...]],
        size: tuple[int, int],
    ) -> npt.NDArray[np.float64]:
        """Give a map (n, 24, 32), 0 to 1, of one class for each of the features (n, channels, h, w).

        :param shapes: of the pictures, rows and columns first.
        :param size: width and height of the network's input, in which the pictures were centred.
        """
        targets = [ClassifierOutputTarget(int(kind)) for kind in classes]
        seen = torch.from_numpy(features).to(self._device).requires_grad_()
        with self._one_at_a_time, torch.enable_grad(), METHODS[self.method](self._head, [self._features]) as activation:
            small = activation(seen, targets)
        return np.stack(
            [_over_picture(one, shape, size, self._stride) for one, shape in zip(small, shapes, strict=True)]
        )


def _over_picture(
    heat: npt.NDArray[np.float32], shape: tuple[int, ...], size: tuple[int, int], stride: int
) -> npt.NDArray[np.float64]:
    """Bring a map of the input (h, w) to a grid over the picture."""
    box = Letterbox.fit(shape, *size)
    rows, columns = GRID
    x = (np.arange(columns) + 0.5) / columns * shape[1] * box.scale + box.x_px
    y = (np.arange(rows) + 0.5) / rows * shape[0] * box.scale + box.y_px
    at_x, at_y = np.meshgrid(x / stride - 0.5, y / stride - 0.5)
    spread = cv2.remap(
        heat.astype(np.float32),
        at_x.astype(np.float32),
        at_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.clip(spread, 0.0, 1.0).astype(np.float64)
