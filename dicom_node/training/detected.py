"""The boxes that the shipped detector finds, written down once: what the features of heads are taken from.

Drawn boxes exist on standard planes only. Were they used there and found ones elsewhere, a network could tell the
planes apart by who made the box; so all boxes are found ones, as they are when the node runs.
"""

from __future__ import annotations

import csv
from pathlib import Path

from dicom_node.inference.batching import batches
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.training.datasets import read_head_pictures
from dicom_node.training.measuring import BATCH, frame_of, loaded

HEADER = ("image", "structure", "x_min", "y_min", "x_max", "y_max", "score")


def detect_boxes(data_dir: Path, models_dir: Path, device: str, table: Path) -> None:
    """Write the boxes found on every head of a data folder, unless the table is there already."""
    if table.is_file():
        return
    task = loaded("structures", Structures, models_dir, device)
    partial = table.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for batch in batches(read_head_pictures(data_dir), BATCH):
            for picture, boxes in zip(batch, task.boxes([frame_of(p) for p in batch], SCORE_FLOOR), strict=True):
                for structure, (box, score) in boxes.items():
                    rows.writerow((picture.path.name, structure, *(round(e, 1) for e in box), round(score, 3)))
    partial.replace(table)
