"""The structures network: YOLO11n, built from the description that ultralytics ships."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STRUCTURES = (
    "thalami",
    "midbrain",
    "palate",
    "fourth_ventricle",
    "cisterna_magna",
    "nuchal_translucency",
    "nasal_tip",
    "nasal_skin",
    "nasal_bone",
)
DESCRIPTION = "yolo11n.yaml"
# Read by ultralytics when it is imported: it asks no server for anything and installs nothing.
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


def build_net() -> torch.nn.Module:
    """Make the untrained network: (batch, 3, height, width) in 0..1 to boxes and scores (batch, 4 + 9, places).

    Boxes are centre x, centre y, width, height in input pixels; scores are probabilities. Sides are multiples of 32.
    """
    os.environ.update(OFFLINE)
    # Its settings file is written when it is imported; here that is a folder which is gone afterwards, not the home.
    with TemporaryDirectory(prefix="ultralytics-") as settings:
        os.environ["YOLO_CONFIG_DIR"] = settings
        from ultralytics.nn.tasks import DetectionModel  # noqa: PLC0415
    net: torch.nn.Module = DetectionModel(DESCRIPTION, ch=3, nc=len(STRUCTURES), verbose=False)  # type: ignore[no-untyped-call]
    return net
