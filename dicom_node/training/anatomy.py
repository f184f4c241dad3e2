"""How the places of the structures to each other are learned: the numbers of ``dicom_node.tasks.structures.anatomy``.

``python -m dicom_node.training.anatomy DATA`` prints them anew from the train split.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dicom_node.tasks.structures.anatomy import ANCHORS, Place, head_frame
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training.datasets import StructureExample, read_structures
from dicom_node.training.recipe import of_split


def learned_places(examples: Sequence[StructureExample]) -> dict[str, Place]:
    """Give mean and covariance of each structure's centre in the frame of the head, where the anchors are drawn."""
    centres: dict[str, list[np.ndarray[tuple[int], np.dtype[np.float64]]]] = {name: [] for name in STRUCTURES}
    for example in examples:
        if all(name in example.boxes for name in ANCHORS):
            frame = head_frame(np.array([example.boxes[name] for name in ANCHORS]))
            for name, box in example.boxes.items():
                centres[name].append(frame.of(np.array([box]))[0])
    places = {}
    for name, found in centres.items():
        (xx, xy), (_, yy) = np.cov(np.array(found).T)
        x, y = np.mean(found, axis=0)
        places[name] = Place(*(round(float(number), 5) for number in (x, y, xx, xy, yy)))
    return places


if __name__ == "__main__":
    for structure, place in learned_places(of_split(read_structures(Path(sys.argv[1])), "train")).items():
        print(f'    "{structure}": {place},')  # noqa: T201 - its output is the product
