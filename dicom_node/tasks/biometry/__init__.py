"""Head, abdomen and femur: outlines and their sizes, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Finding, Graphic, Measurement, NotAssessable, Segmentation
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised, warp
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.biometry.gate import GATE, Gate
from dicom_node.tasks.biometry.geometry import Array, Ellipse, Likely, distance, outline_of
from dicom_node.tasks.biometry.outlined import FINE, Outlined

if TYPE_CHECKING:
    from dicom_node.tasks.biometry.net import BiometryNet

NETWORK = "unet"
BATCH = 8
TURN_DEG, FARTHER = 10.0, 0.9  #: the third look: at the picture turned clockwise, at this share of its size
#: By how much the sizes of what is round are corrected: heads come out 0.6 % too small, on pictures learned from too.
CORRECTION = {"head": 1.006, "abdomen": 1.0}
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
    """What the network says of a frame.

    :ivar maps: of probabilities (2, regions, height, width): of the picture, and of its mirror image, turned back.
    :ivar turned: such maps (regions, height, width) of the picture turned and smaller, left so.
    :ivar region: which it is that the network sees.
    """

    maps: Likely
    turned: Likely
    region: str


class Biometry:
    """Measures what the gate recognised: HC, BPD and OFD of a brain plane, AC of an abdomen, FL of a femur.

    An ellipse runs along the outer edge of the skull or skin (outer to outer, as in HC18), its axes are OFD and BPD;
    HC or AC is pi / 2 times the sum of both axes, as Hadlock and the labels have it. FL is the distance between the
    ends of the ossified shaft.

    A frame is looked at twice, the second time at its mirror image: both maps are averaged, and where they disagree
    the quality gate gives no number. Nor does it where the size in a third look, at the turned picture, is another.
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
        """Look at frames, at the mirror image of each, and at each turned, whatever the gate said.

        The mirror images' maps are turned back, the others stay as they are. A picture that fills the input loses two
        corners when it is turned: what lies there is not measured.
        """
        import torch  # noqa: PLC0415

        grey = [grey_of(frame.pixels) for frame in frames]
        fits = [Letterbox.fit(picture.shape, *self._size) for picture in grey]
        upright = np.stack([fit.apply(picture) for fit, picture in zip(fits, grey, strict=True)])
        turned = np.stack([_turned(fit, picture) for fit, picture in zip(fits, grey, strict=True)])
        once, again = (torch.from_numpy(normalised(each))[:, None].to(self._device) for each in (upright, turned))
        with torch.inference_mode():
            masks, region = self._net(once)
            mirrored, mirrored_region = self._net(once.flip(-1))
            others = self._net(again)[0].float().sigmoid().cpu().numpy()
            maps = torch.stack([masks, mirrored.flip(-1)], dim=1).float().sigmoid().cpu().numpy()
            regions = (region.float().softmax(-1) + mirrored_region.float().softmax(-1)).argmax(-1).tolist()
        names = (self._regions[number] for number in regions)
        return [Seen(*each) for each in zip(maps, others, names, strict=True)]

    def with_gate(self, gate: Gate) -> Biometry:
        """Give the same task with another quality gate, to learn what this one stops."""
        return Biometry(self._manifest, self._net, self._device, gate)

    def read(self, frame: Frame, seen: Seen) -> list[Finding]:
        """Measure a frame by what was seen in it."""
        plane = frame.plane or ""
        region = REGION_OF_PLANE[plane]
        first = MEASURED[region][0]
        number = self._regions.index(region)
        fit = Letterbox.fit(frame.pixels.shape, *self._size)
        outlined = Outlined.of(seen.maps[:, number].mean(axis=0))
        fault = (
            self._gate.fault_of_region(plane, region, seen.region)
            or self._gate.fault(outlined, region, fit)
            or self._gate.fault_of_looks(seen.maps[:, number], region)
            or self._gate.fault_of_turn(
                outlined.size_px(region), Outlined.of(seen.turned[number]).size_px(region) / FARTHER, region
            )
        )
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        contour = fit.to_picture(outline_of(outlined.mask) / FINE)
        outline = self._segmentation(frame, region, contour, outlined.confidence)
        sizes = self._femur if region == "femur" else self._ellipse
        return [outline, *sizes(frame, region, fit, outlined)]

    def _ellipse(self, frame: Frame, region: str, fit: Letterbox, outlined: Outlined) -> list[Finding]:
        first = MEASURED[region][0]
        found = outlined.ellipse()
        fault = self._gate.fault_of_ellipse(outlined.mask, found.scaled((FINE, FINE)), region)
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        ellipse = Ellipse(fit.to_picture(found.centre[None])[0], found.axes * CORRECTION[region] / fit.scale)
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

    def _femur(self, frame: Frame, region: str, fit: Letterbox, outlined: Outlined) -> list[Finding]:
        first = MEASURED[region][0]
        fault = self._gate.fault_of_shaft(outlined.mask)
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        ends = _inside(frame, fit.to_picture(outlined.shaft_ends()))
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


def _turned(fit: Letterbox, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give the input (height, width) of a grey picture, turned about the input's middle and smaller."""
    middle = np.array([fit.width, fit.height]) / 2
    along, across = FARTHER * np.cos(np.deg2rad(TURN_DEG)), FARTHER * np.sin(np.deg2rad(TURN_DEG))
    turn = np.array([[along, -across], [across, along]])
    return warp(
        grey,
        np.column_stack([turn @ fit.matrix[:, :2], turn @ (fit.matrix[:, 2] - middle) + middle]),
        fit.width,
        fit.height,
    )


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
