"""Where the nine structures of the first-trimester mid-sagittal head lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Detection, Finding, NotAssessable
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights

if TYPE_CHECKING:
    import torch

NETWORK = "yolo11"
BATCH = 8
SCORE_FLOOR = 0.25  #: a box below this score is not a finding
Box = tuple[float, float, float, float]


def load(manifest: Manifest, device: str) -> Task:
    """Make the task. torch and ultralytics are imported here, and not before.

    :raises ModelError: the manifest's structures or the weights are not those of the network.
    """
    from dicom_node.tasks.structures.net import STRUCTURES, build_net  # noqa: PLC0415

    if tuple(output.name for output in manifest.outputs) != STRUCTURES:
        raise ModelError(f"{manifest.folder}: the outputs are not the network's, in its order: {STRUCTURES}")
    return Structures(manifest, load_weights(build_net("yolo11"), manifest.weights_path(NETWORK), device), device)


class Structures:
    """The detector: at most one box per structure and frame, since a head has one of each."""

    name = "structures"

    def __init__(self, manifest: Manifest, net: torch.nn.Module, device: str) -> None:
        self._outputs = manifest.outputs
        self._size = manifest.input_size(NETWORK)
        self._net = net
        self._device = device

    def accepts(self, frame: Frame) -> bool:
        """Tell whether the gate saw a first-trimester mid-sagittal head."""
        return frame.plane == "midsagittal_head"

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Find structures, frame by frame."""
        findings: list[Finding] = []
        for batch in batches(frames, BATCH):
            for frame, boxes in zip(batch, self.boxes(batch, SCORE_FLOOR), strict=True):
                findings += self._findings(frame, boxes)
        return findings

    def boxes(self, frames: Sequence[Frame], floor: float) -> list[dict[str, tuple[Box, float]]]:
        """Give each frame's best box (x0, y0, x1, y1; picture pixels) and score of every structure above ``floor``."""
        import torch  # noqa: PLC0415

        fits = [Letterbox.fit(frame.pixels.shape, *self._size) for frame in frames]
        grey = np.stack([fit.apply(grey_of(frame.pixels)) for fit, frame in zip(fits, frames, strict=True)])
        with torch.inference_mode():
            seen = torch.from_numpy(grey)[:, None].to(self._device).float().div(255.0).expand(-1, 3, -1, -1)
            predictions = self._net(seen)[0].cpu().numpy()
        return [
            self._best(prediction, fit, frame, floor)
            for prediction, fit, frame in zip(predictions, fits, frames, strict=True)
        ]

    def _best(
        self, prediction: npt.NDArray[np.float32], fit: Letterbox, frame: Frame, floor: float
    ) -> dict[str, tuple[Box, float]]:
        """Choose from one frame's prediction (4 + structures, places)."""
        limit = np.array(frame.pixels.shape[1::-1], dtype=np.float64)
        best = {}
        for output, scores in zip(self._outputs, prediction[4:], strict=True):
            place = int(scores.argmax())
            if scores[place] >= floor:
                centre, half = prediction[:2, place], prediction[2:4, place] / 2
                (x0, y0), (x1, y1) = np.clip(fit.to_picture(np.stack([centre - half, centre + half])), 0.0, limit)
                if x1 > x0 and y1 > y0:
                    best[output.name] = ((float(x0), float(y0), float(x1), float(y1)), float(scores[place]))
        return best

    def _findings(self, frame: Frame, boxes: dict[str, tuple[Box, float]]) -> list[Finding]:
        if not boxes:
            reason = f"no structure was found with a score of {SCORE_FLOOR:.0%} or more"
            return [NotAssessable(self.name, frame.reference, self.name, reason)]
        found = [output for output in self._outputs if output.name in boxes]
        return [
            Detection(
                self.name,
                frame.reference,
                output.name,
                output.concept,
                output.site or output.concept,
                *boxes[output.name],
            )
            for output in found
        ]
