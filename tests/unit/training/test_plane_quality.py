"""What is counted when categories are measured: boxes that were found, structures that are not there, drawn boxes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from dicom_node.domain.frame import Frame
from dicom_node.tasks.structures import Structures
from dicom_node.tasks.structures.categories import CATEGORIES
from dicom_node.tasks.structures.reading import BoxReader, Reading
from dicom_node.training.plane_quality import categories

BOX = (10.0, 10.0, 40.0, 30.0)
WIDE = (10.0, 10.0, 60.0, 30.0)
#: image, structure, category, absent
KNOWN = (
    ("sim1.jpg", "nasal_bone", "abnormal", 1),
    ("sim1.jpg", "thalami", "normal", 0),
    ("sim1.jpg", "palate", "normal", 0),
    ("sim2.jpg", "nasal_bone", "abnormal", 0),
    ("sim2.jpg", "thalami", "borderline", 0),
)


class Finder:
    """Finds thalami and nasal bones everywhere, a little too wide, and no palate."""

    def boxes(self, frames: Sequence[Frame], _floor: float) -> list[dict[str, tuple[Any, float]]]:
        return [{"thalami": (WIDE, 0.9), "nasal_bone": (WIDE, 0.5)} for _ in frames]


class Ruler:
    """Calls what is as wide as it was drawn abnormal, and everything else normal."""

    def read(self, pictures: Sequence[Any], boxes: Sequence[Mapping[str, Any]]) -> list[Reading | None]:
        return [Reading(0.0, {name: self._odds(box) for name, box in of_one.items()}) for of_one in boxes]

    def _odds(self, box: tuple[float, ...]) -> np.ndarray:
        odds = np.full(3, 0.1)
        as_drawn = box[2] - box[0] == BOX[2] - BOX[0]
        odds[CATEGORIES.index("abnormal" if as_drawn else "normal")] = 0.8
        return odds


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    folder = tmp_path / "head_structures"
    (folder / "images").mkdir(parents=True)
    tables = {
        "planes.csv": [("image", "width", "height", "standard_plane", "subset")]
        + [(f"sim{n}.jpg", 80, 60, 1, "simulated") for n in (1, 2)],
        "boxes.csv": [("image", "structure", "x_min", "y_min", "x_max", "y_max")]
        + [(image, name, *BOX) for image, name, _, absent in KNOWN if not absent],
        "categories.csv": [("image", "structure", "category", "absent"), *KNOWN],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    for n in (1, 2):
        cv2.imwrite(str(folder / "images" / f"sim{n}.jpg"), np.zeros((60, 80), dtype=np.uint8))
    return tmp_path


def test_categories_are_measured_on_found_boxes_and_absent_structures_are_counted_apart(heads: Path) -> None:
    figures = categories(heads, heads, cast(Structures, Finder()), cast(BoxReader, Ruler()))
    found = {name.removeprefix("categories.simulated."): (it.value, it.n) for name, it in figures.items()}
    assert found["found"] == (pytest.approx(3 / 4), 4)  # of what is there, the palate was not found
    assert found["absent_boxed"] == (1.0, 1)
    assert found["accuracy"] == (pytest.approx(1 / 3), 3)  # all called normal; the absent nasal bone does not count
    assert found["drawn.accuracy"] == (pytest.approx(1 / 4), 4)  # all called abnormal
    assert found["per_structure.nasal_bone"] == (0.0, 1)


def test_a_folder_without_categories_has_no_figures(heads: Path) -> None:
    (heads / "head_structures" / "categories.csv").unlink()
    assert categories(heads, heads, cast(Structures, Finder()), cast(BoxReader, Ruler())) == {}
