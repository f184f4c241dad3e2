"""Which standard plane a frame shows: the gate before the other tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Classification, Finding, NotAssessable
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised
from dicom_node.inference.manifest import Manifest, Output
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights

if TYPE_CHECKING:
    from dicom_node.tasks.planes.net import PlanesNet

NETWORK = "efficientnet_lite0"
BATCH = 16
BRAIN_PLANE_FLOOR = 0.5  #: below this probability no brain plane is named


def load(manifest: Manifest, device: str) -> Task:
    """Make the task. torch is imported here, and not before.

    :raises ModelError: the manifest's classes or the weights are not those of the network.
    """
    from dicom_node.tasks.planes.net import BRAIN_PLANES, PLANES, PlanesNet  # noqa: PLC0415

    for name, classes in (("plane", PLANES), ("brain_plane", BRAIN_PLANES)):
        if tuple(value.name for value in manifest.output(name).values) != classes:
            raise ModelError(f"{manifest.folder}: the values of {name} are not the network's, in its order: {classes}")
    net = PlanesNet()
    load_weights(net, manifest.weights_path(NETWORK), device)
    return Planes(manifest, net, device)


class Planes:
    """The gate. Every frame gets a ``plane``; a brain also a ``brain_plane`` or the reason why not."""

    name = "planes"

    def __init__(self, manifest: Manifest, net: PlanesNet, device: str) -> None:
        self._plane = manifest.output("plane")
        self._brain_plane = manifest.output("brain_plane")
        self._size = manifest.input_size(NETWORK)
        self._net = net
        self._device = device

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The planes, in the order of their probabilities."""
        return tuple(value.name for value in self._plane.values)

    @property
    def brain_plane_names(self) -> tuple[str, ...]:
        """The brain planes, in the order of their probabilities."""
        return tuple(value.name for value in self._brain_plane.values)

    @property
    def parameters(self) -> int:
        """How many numbers the network has learned."""
        return sum(parameter.numel() for parameter in self._net.parameters())

    def accepts(self, frame: Frame) -> bool:  # noqa: ARG002 - the gate looks at everything
        """Tell that any frame may come."""
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Classify frames, in order."""
        findings: list[Finding] = []
        for batch in batches(frames, BATCH):
            for frame, planes, brain_planes in zip(batch, *self.probabilities(batch), strict=True):
                plane = _classification(frame, self._plane, planes)
                findings.append(plane)
                if plane.value_name == "brain":
                    findings.append(self._brain_plane_of(frame, brain_planes))
        return findings

    def _brain_plane_of(self, frame: Frame, probabilities: npt.NDArray[np.float64]) -> Finding:
        if probabilities.max() < BRAIN_PLANE_FLOOR:
            reason = f"no brain plane reaches a probability of {BRAIN_PLANE_FLOOR:.0%}"
            return NotAssessable(self.name, frame.reference, self._brain_plane.name, reason)
        return _classification(frame, self._brain_plane, probabilities)

    def probabilities(self, frames: Sequence[Frame]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give the probabilities of the planes (frames, 7) and of the brain planes (frames, 3)."""
        import torch  # noqa: PLC0415

        grey = np.stack(
            [Letterbox.fit(frame.pixels.shape, *self._size).apply(grey_of(frame.pixels)) for frame in frames]
        )
        with torch.inference_mode():
            seen = torch.from_numpy(normalised(grey))[:, None].to(self._device)
            planes, brain_planes = self._net(seen)
            return planes.double().softmax(-1).cpu().numpy(), brain_planes.double().softmax(-1).cpu().numpy()


def _classification(frame: Frame, output: Output, probabilities: npt.NDArray[np.float64]) -> Classification:
    best = output.values[int(probabilities.argmax())]
    return Classification(
        task=Planes.name,
        frames=(frame.reference,),
        name=output.name,
        concept=output.concept,
        value=best.concept,
        value_name=best.name,
        probabilities=tuple((v.concept, float(p)) for v, p in zip(output.values, probabilities, strict=True)),
    )
