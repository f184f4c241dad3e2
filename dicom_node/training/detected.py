"""The boxes that the shipped detector finds, written down once: what the features of heads are taken from.

Drawn boxes exist on standard planes and on simulated heads only. Were they used there and found ones elsewhere, a
network could tell the planes apart by who made the box; and a drawn box tells a structure's size better than any that
the node will ever find. So all boxes are found ones, as they are when the node runs.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

from dicom_node.inference.batching import batches
from dicom_node.inference.manifest import Manifest
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.tasks.structures.detector import LARGER
from dicom_node.training.datasets import WITHIN_PIXEL, Picture, read_head_pictures
from dicom_node.training.measuring import BATCH, frame_of, loaded

DETECTOR = "yolo11"  #: the one that the node uses unless it is told otherwise
HEADER = ("image", "structure", "x_min", "y_min", "x_max", "y_max", "score")


def detect_boxes(data_dir: Path, models_dir: Path, device: str, folder: Path) -> Path:
    """Find the boxes of every head of a data folder, and give the table of them.

    It lies in ``folder`` and is made once: its name tells the detector, how it looks and the pictures.
    """
    pictures = read_head_pictures(data_dir)
    sha256 = Manifest.read(models_dir / "structures").networks[DETECTOR].sha256
    table = folder / f"detected-{_hash(f'{sha256} {LARGER} {SCORE_FLOOR}', pictures)}.csv"
    if table.is_file():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    task = loaded("structures", Structures, models_dir, device, detector=DETECTOR)
    partial = table.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for batch in batches(pictures, BATCH):
            for picture, boxes in zip(batch, task.boxes([frame_of(p) for p in batch], SCORE_FLOOR), strict=True):
                for structure, (box, score) in boxes.items():
                    rows.writerow(
                        (picture.path.name, structure, *(round(e - WITHIN_PIXEL, 1) for e in box), round(score, 3))
                    )
    partial.replace(table)
    return table


def _hash(detector: str, pictures: Sequence[Picture]) -> str:
    what = [detector, *((str(picture.path.resolve()), picture.path.stat().st_size) for picture in pictures)]
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
