"""Head, abdomen and femur: outlines and their sizes, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dicom_node.domain.finding import Finding, Graphic, Measurement, NotAssessable, Segmentation
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.biometry.gate import GATE, Gate
from dicom_node.tasks.biometry.geometry import (
    Array,
    Ellipse,
    Likely,
    Mask,
    distance,
    ellipse_of_map,
    near,
    outline_of,
    shaft_ends,
    whole_piece,
)

if TYPE_CHECKING:
    from dicom_node.tasks.biometry.net import BiometryNet

NETWORK = "unet"
BATCH = 8
FINE = 3  #: outlines are drawn at this many times the input's resolution
NEAR_PX = 8  #: of the input: probabilities as far from the mask still count for its size
REGION_OF_PLANE = {"brain": "head", "abdomen": "abdomen", "femur": "femur"}
MEASURED = {"head": ("HC", "BPD", "OFD"), "abdomen": ("AC",), "femur": ("FL",)}


def load(manifest: Manifest, device: str) -> Task:
    """Make the task. torch is imported here, and not before.

    :raises ModelError: the manifest's regions or the weights are not those of the network.
    """
    from dicom_node.inference.frozen import frozen  # noqa: PLC0415
    from dicom_node.tasks.biometry.net import REGIONS, BiometryNet  # noqa: PLC0415

    outlined = tuple(output.name for output in manifest.outputs if output.kind == "segmentation")
    if outlined != REGIONS:
        raise ModelError(f"{manifest.folder}: the segmentations are not the network's, in its order: {REGIONS}")
    net = BiometryNet()
    load_weights(net, manifest.weights_path(NETWORK), device)
    width, height = manifest.input_size(NETWORK)
    return Biometry(manifest, frozen(net, device, forward=(1, height, width)), device)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network says of a frame: ``maps`` (looks, regions, height, width) of probabilities, and the region."""

    maps: Likely
    region: str


class Biometry:
    """Measures what the gate recognised: HC, BPD and OFD of a brain plane, AC of an abdomen, FL of a femur.

    An ellipse runs along the outer edge of the skull or skin (outer to outer, as in HC18), its axes are OFD and BPD;
    HC or AC is pi / 2 times the sum of both axes, as Hadlock and the labels have it. FL is the distance between the
    ends of the ossified shaft.

    A frame is looked at twice, the second time at its mirror image: both maps are averaged, and where they disagree
    the quality gate gives no number.
    """

    name = "biometry"

    def __init__(self, manifest: Manifest, net: BiometryNet, device: str, gate: Gate = GATE) -> None:
        self._manifest = manifest
        self._gate = gate
        self._regions = tuple(output.name for output in manifest.outputs if output.kind == "segmentation")
        self._size = manifest.input_size(NETWORK)
        self._net = net
        self._device = device

    def accepts(self, frame: Frame) -> bool:
        """Tell whether the gate saw a plane that can be measured."""
        return frame.plane in REGION_OF_PLANE

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Measure frames, in order."""
        findings: list[Finding] = []
        for batch in batches(frames, BATCH):
            for frame, seen in zip(batch, self.look(batch), strict=True):
                findings += self.read(frame, seen)
        return findings

    def look(self, frames: Sequence[Frame]) -> list[Seen]:
        """Look at frames, and at the mirror image of each, whatever the gate said; its maps are turned back."""
        import torch  # noqa: PLC0415

        grey = np.stack(
            [Letterbox.fit(frame.pixels.shape, *self._size).apply(grey_of(frame.pixels)) for frame in frames]
        )
        once = torch.from_numpy(normalised(grey))[:, None].to(self._device)
        with torch.inference_mode():
            masks, region = self._net(once)
            mirrored, mirrored_region = self._net(once.flip(-1))
            maps = torch.stack([masks, mirrored.flip(-1)], dim=1).float().sigmoid().cpu().numpy()
            regions = (region.float().softmax(-1) + mirrored_region.float().softmax(-1)).argmax(-1).tolist()
        return [Seen(each, self._regions[number]) for each, number in zip(maps, regions, strict=True)]

    def with_gate(self, gate: Gate) -> Biometry:
        """Give the same task with another quality gate, to learn what this one stops."""
        return Biometry(self._manifest, self._net, self._device, gate)

    def read(self, frame: Frame, seen: Seen) -> list[Finding]:
        """Measure a frame by what was seen in it."""
        plane = frame.plane or ""
        region = REGION_OF_PLANE[plane]
        first = MEASURED[region][0]
        of_region = seen.maps[:, self._regions.index(region)]
        likely = of_region.mean(axis=0)
        fit = Letterbox.fit(frame.pixels.shape, *self._size)
        fine = np.asarray(cv2.resize(likely, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        mask = whole_piece(fine)
        fault = (
            self._gate.fault_of_region(plane, region, seen.region)
            or self._gate.fault(mask, fine, region, fit)
            or self._gate.fault_of_looks(of_region, region)
        )
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        outline = self._segmentation(
            frame, region, fit.to_picture(outline_of(mask) / FINE), float(fine[mask == 1].mean())
        )
        close = near(mask, NEAR_PX * FINE)
        if region == "femur":
            return [outline, *self._femur(frame, region, fit, mask, fine * close)]
        coarse = close[FINE // 2 :: FINE, FINE // 2 :: FINE]
        return [outline, *self._ellipse(frame, region, fit, mask, likely * coarse)]

    def _ellipse(self, frame: Frame, region: str, fit: Letterbox, mask: Mask, likely: Likely) -> list[Finding]:
        first = MEASURED[region][0]
        found = ellipse_of_map(likely)
        fault = self._gate.fault_of_ellipse(mask, found.scaled((FINE, FINE)), region)
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        ellipse = Ellipse(fit.to_picture(found.centre[None])[0], found.axes / fit.scale)
        ends = np.concatenate([ellipse.ends(0), ellipse.ends(1)])
        if (ends != _inside(frame, ends)).any():
            return [NotAssessable(self.name, frame.reference, first, f"the {region} leaves the picture")]
        graphic = Graphic("ellipse", _points(ends))
        scale, qualifier = _scale(frame, _inside(frame, ellipse.outline()))
        true = ellipse.scaled(scale)
        findings: list[Finding] = [self._measurement(frame, first, true.circumference, graphic, qualifier)]
        if region == "head":
            for name, axis in (("BPD", 1), ("OFD", 0)):
                line = Graphic("polyline", _points(_inside(frame, true.ends(axis) / np.array(scale))))
                findings.append(self._measurement(frame, name, 2 * true.lengths[axis], line, qualifier))
        return findings

    def _femur(self, frame: Frame, region: str, fit: Letterbox, mask: Mask, fine: Likely) -> list[Finding]:
        first = MEASURED[region][0]
        fault = self._gate.fault_of_shaft(mask)
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        ends = _inside(frame, fit.to_picture(shaft_ends(fine) / FINE))
        scale, qualifier = _scale(frame, ends)
        return [self._measurement(frame, first, distance(ends, scale), Graphic("polyline", _points(ends)), qualifier)]

    def _measurement(
        self, frame: Frame, name: str, value: float, graphic: Graphic, qualifier: str | None
    ) -> Measurement:
        output = self._manifest.output(name)
        return Measurement(
            task=self.name,
            frame=frame.reference,
            name=name,
            quantity=output.concept,
            value=value,
            unit="{pixels}" if qualifier else "mm",
            graphic=graphic,
            site=output.site or output.concept,
            qualifier=qualifier,
        )

    def _segmentation(self, frame: Frame, region: str, outline: Array, score: float) -> Segmentation:
        concept = self._manifest.output(region).concept
        closed = _inside(frame, np.concatenate([outline, outline[:1]]))
        return Segmentation(self.name, frame.reference, region, concept, Graphic("polyline", _points(closed)), score)


def _scale(frame: Frame, points: Array) -> tuple[tuple[float, float], str | None]:
    """Give millimetres per pixel in x and y where the points are calibrated, or pixels and the reason why not."""
    region = frame.calibration.region_for(points)
    if isinstance(region, str):
        return (1.0, 1.0), region
    return (region.mm_per_px_x, region.mm_per_px_y), None


def _inside(frame: Frame, points: Array) -> Array:
    """Bring points (n, 2) that lie outside the picture to its edge: a drawing must not leave the picture."""
    return np.asarray(np.clip(points, 0.0, np.array(frame.pixels.shape[1::-1], dtype=np.float64)))


def _points(points: Array) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)
