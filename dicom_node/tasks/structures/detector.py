"""What every detector does: look at a frame in two ways, and propose boxes for each structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dicom_node.domain.frame import Frame
from dicom_node.inference.frozen import frozen
from dicom_node.inference.letterbox import Letterbox, grey_of
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.structures.fusion import Look
from dicom_node.tasks.structures.net import STRUCTURES, build_net

Grey = npt.NDArray[np.uint8]
PROPOSALS = 40  #: that a look keeps for each structure
LARGER = (64, 32)  #: by so many pixels is the input of the second look wider and higher than the one trained on


class Answer(nn.Module):
    """What a network answers with: not the maps that it also gives, for training."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: Tensor) -> Tensor:
        """Give boxes and scores (n, 4 + structures, places)."""
        said: Tensor = self.net(pictures)[0]
        return said


@dataclass(frozen=True, slots=True)
class View:
    """One way to look: a network (an ``Answer``) that sees pictures, or their mirror images, in inputs of ``size``."""

    net: nn.Module
    size: tuple[int, int]  #: width, height
    mirrored: bool
    device: str

    def look(self, pictures: Sequence[Grey]) -> list[Look]:
        """Propose boxes for the structures of grey pictures (rows, columns)."""
        fits = [Letterbox.fit(picture.shape, *self.size) for picture in pictures]
        inputs = np.stack([fit.apply(picture) for fit, picture in zip(fits, pictures, strict=True)])
        said = self._predict(np.ascontiguousarray(inputs[:, :, ::-1]) if self.mirrored else inputs)
        if self.mirrored:
            said[:, 0] = self.size[0] - said[:, 0]
        return [_proposals(each, fit) for each, fit in zip(said, fits, strict=True)]

    def _predict(self, inputs: Grey) -> npt.NDArray[np.float32]:
        """Give what the network says (n, 4 + structures, places) of inputs (n, height, width)."""
        with torch.inference_mode():
            pictures = torch.from_numpy(inputs)[:, None].to(self.device).float().div(255.0).expand(-1, 3, -1, -1)
            said = self.net(pictures.contiguous(memory_format=torch.channels_last))
            return np.asarray(said.float().cpu().numpy())


@dataclass(frozen=True, slots=True)
class Detector:
    """A network that finds structures, and the ways in which it looks."""

    name: str
    views: tuple[View, ...]

    @classmethod
    def load(cls, name: str, manifest: Manifest, device: str) -> Detector:
        """Load the detector that the manifest calls ``name``.

        It looks at a frame as it is, and at its mirror image in a larger input: the second look errs otherwise.

        :raises ModelError: it has none, or its weights cannot be used.
        """
        net = Answer(load_weights(build_net(name), manifest.weights_path(name), device)).eval()
        width, height = manifest.input_size(name)
        ways = ((width, height, False), (width + LARGER[0], height + LARGER[1], True))
        views = tuple(
            View(frozen(net, device, forward=(3, rows, columns)), (columns, rows), mirrored, device)
            for columns, rows, mirrored in ways
        )
        return cls(name, views)

    def look(self, frames: Sequence[Frame]) -> list[tuple[Look, ...]]:
        """Look at each frame in every way."""
        pictures = [grey_of(frame.pixels) for frame in frames]
        return list(zip(*(view.look(pictures) for view in self.views), strict=True))


def _proposals(prediction: npt.NDArray[np.float32], fit: Letterbox) -> Look:
    """Keep the best proposals of one prediction (4 + structures, places), in picture pixels."""
    scores = prediction[4:]
    kept = min(PROPOSALS, scores.shape[1])
    places = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
    centre, half = np.moveaxis(prediction[:2, places], 0, -1), np.moveaxis(prediction[2:4, places], 0, -1) / 2
    corners = np.stack([centre - half, centre + half], axis=-2).reshape(-1, 2)
    boxes = fit.to_picture(corners).reshape(len(STRUCTURES), kept, 4)
    return Look(boxes, np.take_along_axis(scores, places, axis=1))
