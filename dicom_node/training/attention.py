"""Whether a network looks where something is known to be: the energy of its heat maps in heads and lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dicom_node.domain.frame import Frame
from dicom_node.inference.batching import batches
from dicom_node.tasks.biometry.geometry import Ellipse
from dicom_node.training.datasets import Picture, read_biometry
from dicom_node.training.measuring import BATCH, Figures, frame_of
from dicom_node.training.metrics import Values, figure
from dicom_node.training.seen import seen_by

HEADS = "head_circumference"


@dataclass(frozen=True, slots=True)
class Looked:
    """How much of a heat map lies in a known place, and how much of the picture that place is."""

    group: str
    heat: float
    area: float


def looked(picture: Picture, frame: Frame, heat: Values, outline: Values) -> Looked:
    """Compare a heat map (rows, columns) over a frame with a place, by its outline (n, 2) in pixels."""
    place = np.zeros(frame.pixels.shape[:2], dtype=np.float32)
    cv2.fillPoly(place, [np.rint(outline).astype(np.int32)], 1.0)
    share = cv2.resize(place, heat.shape[::-1], interpolation=cv2.INTER_AREA)
    total = float(heat.sum())
    return Looked(picture.group, float((heat * share).sum()) / total if total else 0.0, float(share.mean()))


def looked_at_heads(data_dir: Path, folder: Path, heat_of: Callable[[Sequence[Frame]], Values]) -> list[Looked]:
    """Look at real heads whose outline is known and which the model in ``folder`` has not seen.

    :param heat_of: gives the heat maps (frames, rows, columns) of the classes that are found on frames.
    """
    if not (data_dir / HEADS).is_dir():
        return []
    seen = seen_by(folder)
    heads = [
        (example.picture, example.shape)
        for example in read_biometry(data_dir)
        if example.picture.group.startswith(f"{HEADS}/")
        and not seen.has(example.picture)
        and isinstance(example.shape, Ellipse)
    ]
    found = []
    for batch in batches(heads, BATCH):
        frames = [frame_of(picture) for picture, _ in batch]
        for (picture, shape), frame, heat in zip(batch, frames, heat_of(frames), strict=True):
            found.append(looked(picture, frame, heat, shape.outline(128)))
    return found


def attention_in(place: str, found: Sequence[Looked]) -> Figures:
    """Give the share of heat within the places, beside the share of the picture that they cover."""
    if not found:
        return {}
    groups = [one.group for one in found]
    heat, area = (np.array([getattr(one, name) for one in found]) for name in ("heat", "area"))
    return {f"attention_in_{place}": figure(groups, _mean, heat), f"{place}_area": figure(groups, _mean, area)}


def _mean(values: Values) -> float:
    return float(np.mean(values))
