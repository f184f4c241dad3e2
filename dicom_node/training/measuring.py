"""What every evaluation starts from: unseen examples, the shipped model, and pictures as the node would decode them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain.frame import Calibration, Frame, FrameReference, Region
from dicom_node.errors import BadInput
from dicom_node.inference.registry import load_task
from dicom_node.training.datasets import Kind, Picture, grey_image
from dicom_node.training.metrics import Figure
from dicom_node.training.seen import seen_by

BATCH = 16
Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured on ``data`` (real or simulated): figures, and facts that no image decides."""

    data: str
    figures: Figures
    facts: dict[str, Any] = field(default_factory=dict)


def frame_of(picture: Picture, mm_per_px: float | None = None) -> Frame:
    """Give a picture as the node would decode it, calibrated over its whole area when its scale is known."""
    grey = grey_image(picture.path)
    rows, columns = grey.shape
    reason = "the data set gives no pixel size"
    region = Region(0, 0, columns - 1, rows - 1, mm_per_px, mm_per_px) if mm_per_px else None
    calibration = Calibration((region,)) if region else Calibration(reason=reason)
    reference = FrameReference("1.2.840.10008.5.1.4.1.1.6.1", f"{picture.group}/{picture.path.name}")
    return Frame(reference, np.repeat(grey[:, :, None], 3, axis=2), calibration)


def unseen(examples: Sequence[Kind], folder: Path) -> tuple[list[Kind], str]:
    """Leave out what the weights have seen, and say whether the rest is real or simulated."""
    seen = seen_by(folder)
    rest = [example for example in examples if not seen.has(example.picture)]
    if not rest:
        raise BadInput(f"every image of this folder was used to make the weights of {folder.name}")
    if len({example.picture.simulated for example in rest}) > 1:
        raise BadInput("real and simulated images lie in one folder; their figures are never mixed")
    return rest, "simulated" if rest[0].picture.simulated else "real"


def loaded(name: str, kind: type[Any], models_dir: Path, device: str, **options: str) -> Any:
    """Load a task and see that it is the class that an evaluation is about to ask.

    :raises TypeError: it is another.
    :raises ModelError: the model cannot be loaded.
    """
    task = load_task(name, models_dir, device, **options)
    if not isinstance(task, kind):
        raise TypeError(f"{name} is not a {kind.__name__}")
    return task
