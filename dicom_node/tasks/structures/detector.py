"""What every detector does: look at a frame twice, and propose boxes for each structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dicom_node.domain.frame import Frame
from dicom_node.inference.letterbox import Letterbox, grey_of
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.structures.fusion import Look
from dicom_node.tasks.structures.net import STRUCTURES, build_net

Grey = npt.NDArray[np.uint8]
PROPOSALS = 40  #: that a look keeps for each structure
SMALLER = 0.75  #: size of the second look's input
STRIDE = 32  #: the sides of an input are multiples of this


@dataclass(frozen=True, slots=True)
class Detector:
    """A network that finds structures in inputs of ``size`` (width, height)."""

    name: str
    net: torch.nn.Module
    size: tuple[int, int]
    device: str

    @classmethod
    def load(cls, name: str, manifest: Manifest, device: str) -> Detector:
        """Load the detector that the manifest calls ``name``.

        :raises ModelError: it has none, or its weights cannot be used.
        """
        size = manifest.input_size(name)
        return cls(name, load_weights(build_net(name), manifest.weights_path(name), device), size, device)

    def look(self, frames: Sequence[Frame]) -> list[tuple[Look, Look]]:
        """Look at each frame as it is, and at its mirror image in an input of three quarters of the size.

        The second look errs otherwise than the first at little more than half its price.
        """
        width, height = self.size
        smaller = (_whole(SMALLER * width), _whole(SMALLER * height))
        grey = [grey_of(frame.pixels) for frame in frames]
        return list(zip(self._look(grey, (width, height)), self._look(grey, smaller, mirror=True), strict=True))

    def _look(self, grey: Sequence[Grey], size: tuple[int, int], *, mirror: bool = False) -> list[Look]:
        fits = [Letterbox.fit(picture.shape, *size) for picture in grey]
        inputs = np.stack([fit.apply(picture) for fit, picture in zip(fits, grey, strict=True)])
        said = self._predict(np.ascontiguousarray(inputs[:, :, ::-1]) if mirror else inputs)
        if mirror:
            said[:, 0] = size[0] - said[:, 0]
        return [_proposals(prediction, fit) for prediction, fit in zip(said, fits, strict=True)]

    def _predict(self, inputs: Grey) -> npt.NDArray[np.float32]:
        """Give what the network says (n, 4 + structures, places) of inputs (n, height, width)."""
        with torch.inference_mode():
            pictures = torch.from_numpy(inputs)[:, None].to(self.device).float().div(255.0).expand(-1, 3, -1, -1)
            said = self.net(pictures.contiguous(memory_format=torch.channels_last))[0]
            return np.asarray(said.float().cpu().numpy())


def _whole(side: float) -> int:
    """Give the nearest side that a network can take."""
    return max(round(side / STRIDE), 1) * STRIDE


def _proposals(prediction: npt.NDArray[np.float32], fit: Letterbox) -> Look:
    """Keep the best proposals of one prediction (4 + structures, places), in picture pixels."""
    scores = prediction[4:]
    kept = min(PROPOSALS, scores.shape[1])
    places = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
    centre, half = np.moveaxis(prediction[:2, places], 0, -1), np.moveaxis(prediction[2:4, places], 0, -1) / 2
    corners = np.stack([centre - half, centre + half], axis=-2).reshape(-1, 2)
    boxes = fit.to_picture(corners).reshape(len(STRUCTURES), kept, 4)
    return Look(boxes, np.take_along_axis(scores, places, axis=1))
