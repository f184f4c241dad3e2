"""Pictures and tables on disk."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import cv2

from dicom_node.simulator.speckle import GreyImage

JPEG_QUALITY = 92

Row = tuple[str | float, ...]


def save_image(folder: Path, stem: str, pixels: GreyImage) -> str:
    """Write a picture as JPEG under `folder`/images; gives its file name."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    name = f"{stem}.jpg"
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    (images / name).write_bytes(encoded.tobytes())
    return name


def write_table(path: Path, header: Iterable[str], rows: Iterable[Row]) -> None:
    """Write a comma-separated table with its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
