"""Which standard plane a frame shows: the gate before the other tasks.

With ``explain``, each frame also comes with a heat map of what spoke for its plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Classification, Finding, HeatMap, NotAssessable
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised
from dicom_node.inference.manifest import Manifest, Output
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights

if TYPE_CHECKING:
    from dicom_node.inference.attention import Attention
    from dicom_node.tasks.planes.net import PlanesNet

NETWORK = "efficientnet_lite0"
BATCH = 16
BRAIN = "brain"  #: the plane that has planes of its own
BRAIN_PLANE_FLOOR = 0.5  #: below this probability no brain plane is named


def load(manifest: Manifest, device: str, *, explain: bool = False) -> Task:
    """Make the task. torch is imported here, and not before.

    :raises ModelError: the manifest's classes or the weights are not those of the network.
    """
    from dicom_node.inference.attention import Attention  # noqa: PLC0415
    from dicom_node.tasks.planes.net import BRAIN_PLANES, PLANES, PlanesNet  # noqa: PLC0415

    for name, classes in (("plane", PLANES), ("brain_plane", BRAIN_PLANES)):
        if tuple(value.name for value in manifest.output(name).values) != classes:
            raise ModelError(f"{manifest.folder}: the values of {name} are not the network's, in its order: {classes}")
    net = PlanesNet()
    load_weights(net, manifest.weights_path(NETWORK), device)
    return Planes(manifest, net, Attention(net.pool, net.perceptron, net.planes), device, explain=explain)


class Planes:
    """The gate. Every frame gets a ``plane``; a brain also a ``brain_plane`` or the reason why not."""

    name = "planes"

    def __init__(
        self, manifest: Manifest, net: PlanesNet, attention: Attention, device: str, *, explain: bool = False
    ) -> None:
        from dicom_node.inference.frozen import frozen  # noqa: PLC0415

        self._plane = manifest.output("plane")
        self._brain_plane = manifest.output("brain_plane")
        self._size = width, height = manifest.input_size(NETWORK)
        self._net = net
        self._features = frozen(net, device, features=(1, height, width)).features
        self._attention = attention
        self._device = device
        self._explain = explain

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
            planes, brain_planes, features = self.look(batch)
            for frame, of_plane, of_brain_plane in zip(batch, planes, brain_planes, strict=True):
                plane = _classification(frame, self._plane, of_plane)
                findings.append(plane)
                if plane.value_name == BRAIN:
                    findings.append(self._brain_plane_of(frame, of_brain_plane))
            if self._explain:
                findings.extend(self._heat_maps(batch, planes, features))
        return findings

    def _brain_plane_of(self, frame: Frame, probabilities: npt.NDArray[np.float64]) -> Finding:
        if probabilities.max() < BRAIN_PLANE_FLOOR:
            reason = f"no brain plane reaches a probability of {BRAIN_PLANE_FLOOR:.0%}"
            return NotAssessable(self.name, frame.reference, self._brain_plane.name, reason)
        return _classification(frame, self._brain_plane, probabilities)

    def look(
        self, frames: Sequence[Frame]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Give the probabilities of the planes (frames, 7), those of the brain planes (frames, 3) and the features.

        A brain is looked at twice, the second time at its mirror image: its planes are the hardest to tell apart. The
        features (frames, 1280, h, w), of the first look, are what :meth:`heat` explains.
        """
        grey = np.stack(
            [Letterbox.fit(frame.pixels.shape, *self._size).apply(grey_of(frame.pixels)) for frame in frames]
        )
        planes, brain_planes, features = self._named(grey)
        brains = np.flatnonzero(planes.argmax(axis=1) == self.plane_names.index(BRAIN))
        if brains.size:
            _, mirrored, _ = self._named(np.ascontiguousarray(grey[brains, :, ::-1]))
            brain_planes[brains] = (brain_planes[brains] + mirrored) / 2
        return planes, brain_planes, features

    def _named(
        self, grey: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            features = self._features(torch.from_numpy(normalised(grey))[:, None].to(self._device)).float()
            planes, brain_planes = (logits.double().softmax(-1) for logits in self._net.named(features))
        return planes.cpu().numpy(), brain_planes.cpu().numpy(), features.cpu().numpy()

    def heat(
        self, frames: Sequence[Frame], features: npt.NDArray[np.float32], planes: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float64]:
        """Give what speaks for one plane in each frame, over the whole picture (frames, 24, 32), 0 to 1."""
        return self._attention.maps(features, planes, [frame.pixels.shape for frame in frames], self._size)

    def _heat_maps(
        self, frames: Sequence[Frame], probabilities: npt.NDArray[np.float64], features: npt.NDArray[np.float32]
    ) -> list[HeatMap]:
        planes = probabilities.argmax(axis=1)
        return [
            HeatMap(
                task=self.name,
                frame=frame.reference,
                name=self._plane.name,
                value=self._plane.values[plane].concept,
                value_name=self._plane.values[plane].name,
                probability=float(given[plane]),
                values=tuple(tuple(round(float(x), 3) for x in row) for row in heat),
                method=self._attention.method,
            )
            for frame, plane, given, heat in zip(
                frames, planes, probabilities, self.heat(frames, features, planes), strict=True
            )
        ]


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
