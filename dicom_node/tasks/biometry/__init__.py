"""Head, abdomen and femur: outlines and their sizes, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Finding, Graphic, Measurement, NotAssessable, Segmentation
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.batching import batches
from dicom_node.inference.letterbox import Letterbox, grey_of, normalised
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.biometry.geometry import (
    Array,
    Ellipse,
    Mask,
    distance,
    elongation,
    fit_ellipse,
    largest_piece,
    outline_of,
    overlap,
    shaft_ends,
)

if TYPE_CHECKING:
    from dicom_node.tasks.biometry.net import BiometryNet

NETWORK = "unet"
BATCH = 8
FINE = 3  #: masks are read at this many times the input's resolution
REGION_OF_PLANE = {"brain": "head", "abdomen": "abdomen", "femur": "femur"}
MEASURED = {"head": ("HC", "BPD", "OFD"), "abdomen": ("AC",), "femur": ("FL",)}

# The quality gate: where one of these fails there is a reason, and no number.
MINIMUM_SHARE = {"head": 0.02, "abdomen": 0.02, "femur": 0.0015}  #: of the picture's area
MAXIMUM_AT_BORDER = 0.15  #: share of the outline that lies on the picture's border
MINIMUM_OVERLAP = 0.88  #: of the mask and its ellipse
MINIMUM_ELONGATION = 3.0  #: of a femur
MINIMUM_CONFIDENCE = 0.75  #: mean probability inside the mask


def load(manifest: Manifest, device: str) -> Task:
    """Make the task. torch is imported here, and not before.

    :raises ModelError: the manifest's regions or the weights are not those of the network.
    """
    from dicom_node.tasks.biometry.net import REGIONS, BiometryNet  # noqa: PLC0415

    outlined = tuple(output.name for output in manifest.outputs if output.kind == "segmentation")
    if outlined != REGIONS:
        raise ModelError(f"{manifest.folder}: the segmentations are not the network's, in its order: {REGIONS}")
    net = BiometryNet()
    load_weights(net, manifest.weights_path(NETWORK), device)
    return Biometry(manifest, net, device)


class Biometry:
    """Measures what the gate recognised: HC, BPD and OFD of a brain plane, AC of an abdomen, FL of a femur.

    An ellipse runs along the outer edge of the skull or skin (outer to outer, as in HC18), its axes are OFD and BPD,
    its perimeter HC or AC. FL is the distance between the ends of the ossified shaft.
    """

    name = "biometry"

    def __init__(self, manifest: Manifest, net: BiometryNet, device: str) -> None:
        self._manifest = manifest
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
            for frame, masks, region in zip(batch, *self._predictions(batch), strict=True):
                findings += self._findings(frame, masks, self._regions[int(region.argmax())])
        return findings

    def regions(self, frames: Sequence[Frame]) -> list[str]:
        """Say which region each frame shows to the segmentation, whatever the gate said."""
        return [self._regions[int(scores.argmax())] for scores in self._predictions(frames)[1]]

    def _findings(self, frame: Frame, masks: npt.NDArray[np.float32], seen: str) -> list[Finding]:
        """Read one frame's masks (regions, height, width; probabilities)."""
        region = REGION_OF_PLANE[frame.plane or ""]
        first = MEASURED[region][0]
        if seen != region:
            reason = f"the plane is {frame.plane}, but the segmentation sees the {seen}"
            return [NotAssessable(self.name, frame.reference, first, reason)]
        fit = Letterbox.fit(frame.pixels.shape, *self._size)
        likely = cv2.resize(masks[self._regions.index(region)], None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR)
        mask = largest_piece(np.asarray(likely > 0.5, dtype=np.uint8))  # noqa: PLR2004 - more likely than not
        fault = _fault(mask, likely, region, fit)
        if fault:
            return [NotAssessable(self.name, frame.reference, first, fault)]
        outline = self._segmentation(
            frame, region, fit.to_picture(outline_of(mask) / FINE), float(likely[mask == 1].mean())
        )
        if region == "femur":
            return [outline, *self._femur(frame, fit, mask)]
        return [outline, *self._ellipse(frame, region, fit, mask)]

    def _ellipse(self, frame: Frame, region: str, fit: Letterbox, mask: Mask) -> list[Finding]:
        fine = fit_ellipse(mask)
        if fine is None or overlap(mask, fine) < MINIMUM_OVERLAP:
            reason = f"the outline of the {region} is not an ellipse"
            return [NotAssessable(self.name, frame.reference, MEASURED[region][0], reason)]
        ellipse = Ellipse(fit.to_picture(fine.centre[None] / FINE)[0], fine.axes / FINE / fit.scale)
        ends = np.concatenate([ellipse.ends(0), ellipse.ends(1)])
        if (ends != _inside(frame, ends)).any():
            return [NotAssessable(self.name, frame.reference, MEASURED[region][0], f"the {region} leaves the picture")]
        graphic = Graphic("ellipse", _points(ends))
        scale, qualifier = _scale(frame, _inside(frame, ellipse.outline()))
        true = ellipse.scaled(scale)
        findings: list[Finding] = [
            self._measurement(frame, MEASURED[region][0], true.perimeter, graphic, qualifier),
        ]
        if region == "head":
            for name, axis in (("BPD", 1), ("OFD", 0)):
                line = Graphic("polyline", _points(_inside(frame, true.ends(axis) / np.array(scale))))
                findings.append(self._measurement(frame, name, 2 * true.lengths[axis], line, qualifier))
        return findings

    def _femur(self, frame: Frame, fit: Letterbox, mask: Mask) -> list[Finding]:
        fine = shaft_ends(mask)
        if fine is None or elongation(mask) < MINIMUM_ELONGATION:
            return [NotAssessable(self.name, frame.reference, "FL", "the outline of the femur is not a shaft")]
        ends = _inside(frame, fit.to_picture(fine / FINE))
        scale, qualifier = _scale(frame, ends)
        return [self._measurement(frame, "FL", distance(ends, scale), Graphic("polyline", _points(ends)), qualifier)]

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

    def _predictions(self, frames: Sequence[Frame]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Give mask probabilities (frames, regions, height, width) and region scores (frames, regions)."""
        import torch  # noqa: PLC0415

        grey = np.stack(
            [Letterbox.fit(frame.pixels.shape, *self._size).apply(grey_of(frame.pixels)) for frame in frames]
        )
        with torch.inference_mode():
            masks, region = self._net(torch.from_numpy(normalised(grey))[:, None].to(self._device))
            return masks.sigmoid().float().cpu().numpy(), region.float().cpu().numpy()


def _fault(mask: Mask, likely: npt.NDArray[np.float32], region: str, fit: Letterbox) -> str | None:
    """Say why a mask (at FINE times the input's resolution) cannot be measured, or None."""
    x0, y0 = round(fit.x_px * FINE), round(fit.y_px * FINE)
    x1, y1 = mask.shape[1] - x0, mask.shape[0] - y0
    if np.count_nonzero(mask) < MINIMUM_SHARE[region] * (x1 - x0) * (y1 - y0):
        return f"no {region} was outlined"
    if likely[mask == 1].mean() < MINIMUM_CONFIDENCE:
        return f"the outline of the {region} is uncertain"
    x, y = outline_of(mask).T
    near = float(FINE)
    at_border = (x < x0 + near) | (x > x1 - near) | (y < y0 + near) | (y > y1 - near)
    if at_border.mean() > MAXIMUM_AT_BORDER:
        return f"the {region} leaves the picture"
    return None


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
