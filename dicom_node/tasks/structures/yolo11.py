"""YOLO11n, built from the description that ultralytics ships, and the seam between its backbone and its neck."""

from __future__ import annotations

import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from dicom_node.tasks.structures.net import STRUCTURES

DESCRIPTION = "yolo11n.yaml"
# Read by ultralytics when it is imported: it asks no server for anything and installs nothing.
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
PYRAMID = {4: 128, 6: 128, 10: 256}  #: the layers whose maps (1/8, 1/16, 1/32) the neck reads, and their channels
NECK = 11  #: the neck's first layer


def build_yolo11() -> nn.Module:
    """Make an untrained YOLO11n."""
    os.environ.update(OFFLINE)
    # Its settings file is written when it is imported; here that is a folder which is gone afterwards, not the home.
    with TemporaryDirectory(prefix="ultralytics-") as settings:
        os.environ["YOLO_CONFIG_DIR"] = settings
        from ultralytics.nn.tasks import DetectionModel  # noqa: PLC0415
    net: nn.Module = DetectionModel(DESCRIPTION, ch=3, nc=len(STRUCTURES), verbose=False)  # type: ignore[no-untyped-call]
    return net


def backbone(yolo: Any, pictures: Tensor) -> list[Tensor]:
    """Give the maps that the backbone makes of pictures."""
    maps, now = [], pictures
    for place, layer in enumerate(yolo.model[:NECK]):
        now = layer(now)
        if place in PYRAMID:
            maps.append(now)
    return maps


def neck_and_head(yolo: Any, pyramid: Sequence[Tensor]) -> Any:
    """Give what the network says of maps that stand in for its backbone's."""
    made: dict[int, Any] = dict(zip(PYRAMID, pyramid, strict=True))
    now: Any = pyramid[-1]
    for place, layer in enumerate(yolo.model[NECK:], start=NECK):
        now = layer(now if layer.f == -1 else [now if source == -1 else made[source] for source in layer.f])
        made[place] = now
    return now
