"""Which anomaly of the central nervous system a fetus shows, from all suitable frames of a study.

ResNet34 gives each frame its class probabilities; they are pooled to the patient. Heat maps are of the third layer.
Neither finds what the frames do not show: an answer of "normal" is about the frames, and rachischisis is hardly ever
visible on those that the gate lets through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Classification, Finding, HeatMap, NotAssessable
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.anomalies.pooling import POOLINGS

if TYPE_CHECKING:
    from dicom_node.inference.attention import Attention
    from dicom_node.tasks.anomalies.net import AnomaliesNet

NETWORK = "resnet34"
OUTPUT = "anomaly"
PLANES = ("brain", "midsagittal_head")  #: of the gate; it knows no view of the spine
POOLING = "top_mean"  #: chosen on the validation split, see docs/models/anomalies.md
FLOOR = 0.6  #: below this pooled probability no class is named
BATCH = 16
NORMAL = 0  #: the place of this class
#: Said with every answer.
QUALIFIER = "learned almost only from simulated pictures of these anomalies; others are not looked for"
CAVEAT = "four looked for, learned from simulated images"


def load(manifest: Manifest, device: str) -> Task:
    """Make the task. torch is imported here, and not before.

    :raises ModelError: the manifest's classes or the weights are not those of the network.
    """
    from dicom_node.inference.attention import Attention  # noqa: PLC0415
    from dicom_node.tasks.anomalies.net import ANOMALIES, PLACE, AnomaliesNet  # noqa: PLC0415

    if tuple(value.name for value in manifest.output(OUTPUT).values) != ANOMALIES:
        raise ModelError(f"{manifest.folder}: the values of {OUTPUT} are not the network's, in its order: {ANOMALIES}")
    net = AnomaliesNet()
    load_weights(net, manifest.weights_path(NETWORK), device)
    attention = Attention(net.layers[3], *net.head, method="HiResCAM", stride=PLACE)
    return Anomalies(manifest, net, attention, device)


class Anomalies:
    """Looks at frames one by one, and answers once for the study."""

    name = "anomalies"

    def __init__(self, manifest: Manifest, net: AnomaliesNet, attention: Attention, device: str) -> None:
        from dicom_node.inference.frozen import frozen  # noqa: PLC0415
        from dicom_node.tasks.anomalies.net import CHANNELS, PLACE  # noqa: PLC0415

        self._output = manifest.output(OUTPUT)
        self._size = width, height = manifest.input_size(NETWORK)
        places = (CHANNELS, height // PLACE, width // PLACE)
        self._net = frozen(net, device, features=(1, height, width), named=places)
        self._attention = attention
        self._device = device

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their probabilities; the first is normal."""
        return tuple(value.name for value in self._output.values)

    def accepts(self, frame: Frame) -> bool:
        """Tell whether a frame shows a head as the network has learned it."""
        return frame.plane in PLANES

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Give each frame its class and, where that is an anomaly, a heat map of it."""
        findings: list[Finding] = []
        for batch in batches(frames, BATCH):
            probabilities, features = self.look(batch)
            findings += [
                self._classified((frame.reference,), of) for frame, of in zip(batch, probabilities, strict=True)
            ]
            classes = probabilities.argmax(axis=1)
            shown = np.flatnonzero(classes != NORMAL).tolist()
            if shown:
                maps = self.heat([batch[i] for i in shown], features[shown], classes[shown])
                findings += [
                    self._heat_map(batch[i].reference, probabilities[i], int(classes[i]), heat)
                    for i, heat in zip(shown, maps, strict=True)
                ]
        return findings

    def conclude(self, findings: Sequence[Finding], reported: Sequence[FrameReference]) -> list[Finding]:
        """Pool the frames; an anomaly comes with the heat maps of the frames in which it was the likeliest one."""
        images = [finding for finding in findings if isinstance(finding, Classification)]
        if not images:
            reason = "no frame shows, surely enough, an axial view of the brain or a mid-sagittal view of the head"
            return [NotAssessable(self.name, reported[0], OUTPUT, reason)]
        frames = tuple(image.frames[0] for image in images)
        pooled = self.pooled(np.array([[share for _, share in image.probabilities] for image in images]))
        best = int(pooled.argmax())
        if pooled[best] < FLOOR:
            likeliest = self._output.values[best].name
            reason = f"no class reaches {FLOOR:.0%}; the likeliest is {likeliest} with {pooled[best]:.0%}"
            return [NotAssessable(self.name, frames[0], OUTPUT, reason)]
        answer = self._classified(frames, pooled)
        if best == NORMAL:
            return [answer]
        shown = {image.frames[0] for image in images if image.value == answer.value}
        return [answer, *(it for it in findings if isinstance(it, HeatMap) and it.frame in shown)]

    def look(self, frames: Sequence[Frame]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Give the probabilities (frames, 5) and the features (frames, 256, h, w) that :meth:`heat` explains."""
        import torch  # noqa: PLC0415

        grey = np.stack(
            [Letterbox.fit(frame.pixels.shape, *self._size).apply(grey_of(frame.pixels)) for frame in frames]
        )
        with torch.inference_mode():
            features = self._net.features(torch.from_numpy(normalised(grey))[:, None].to(self._device))
            probabilities = self._net.named(features).double().softmax(-1)
        return probabilities.cpu().numpy(), features.float().cpu().numpy()

    def heat(
        self, frames: Sequence[Frame], features: npt.NDArray[np.float32], classes: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float64]:
        """Give what speaks for one class in each frame, over the whole picture (frames, 24, 32), 0 to 1."""
        shapes = [frame.pixels.shape for frame in frames]
        return self._attention.maps(features, classes, shapes, self._size)

    @staticmethod
    def pooled(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give the probabilities of a patient (5,) from those of the images (images, 5)."""
        return POOLINGS[POOLING](images)

    def _classified(self, frames: tuple[FrameReference, ...], probabilities: npt.NDArray[np.float64]) -> Classification:
        best = self._output.values[int(probabilities.argmax())]
        return Classification(
            task=self.name,
            frames=frames,
            name=OUTPUT,
            concept=self._output.concept,
            value=best.concept,
            value_name=best.name,
            probabilities=tuple((v.concept, float(p)) for v, p in zip(self._output.values, probabilities, strict=True)),
            qualifier=QUALIFIER,
            caveat=CAVEAT,
        )

    def _heat_map(
        self, frame: FrameReference, probabilities: npt.NDArray[np.float64], anomaly: int, heat: npt.NDArray[np.float64]
    ) -> HeatMap:
        value = self._output.values[anomaly]
        return HeatMap(
            task=self.name,
            frame=frame,
            name=OUTPUT,
            value=value.concept,
            value_name=value.name,
            probability=float(probabilities[anomaly]),
            values=tuple(tuple(round(float(x), 3) for x in row) for row in heat),
            method=self._attention.method,
        )
