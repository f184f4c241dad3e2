"""Real heads with abnormalities worked into them: made on the reader's machine from the data, never handed on."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from dicom_node.errors import BadInput
from dicom_node.simulator.changes import CHANGES, change_head
from dicom_node.simulator.datasets import BOXES, BOXES_HEADER, CATEGORIES, PLANES, PLANES_HEADER, box_rows
from dicom_node.simulator.files import Row, save_image, write_table
from dicom_node.simulator.records import Box
from dicom_node.simulator.sets import Advance, Rows, SimulatedSet, draw_set, no_progress

FOLDER = "head_structures"
TABLES = {
    PLANES: (*PLANES_HEADER, "origin"),
    BOXES: BOXES_HEADER,
    CATEGORIES: ("image", "structure", "category", "absent", "origin"),
}
STREAM = 6
FEWEST_STRUCTURES = 4  #: that can be changed, for a head to be worth it


def write_changed_heads(
    data_dir: Path, out: Path, count: int, seed: int, *, advance: Advance = no_progress, processes: int | None = None
) -> None:
    """Write `count` changed heads of `data_dir`/head_structures under `out`/head_structures, with their categories.

    Column `origin` names the image (without its extension) that a head was made from: splits must follow it.
    Structures that the method cannot change (thalami, midbrain, palate) keep their boxes and have no category.
    Raises BadInput where there are no heads with boxes.
    """
    if not _boxes(data_dir):
        raise BadInput(f"{data_dir / FOLDER} holds no heads with boxes")
    changed = SimulatedSet(TABLES, partial(_draw, data_dir), partial(_plan, data_dir))
    rows = draw_set(changed, out, count, seed, advance=advance, processes=processes)
    for path, header in TABLES.items():
        write_table(out / path, header, rows[path])


def _plan(data_dir: Path, count: int, seed: int) -> Iterable[tuple[int, str]]:
    """Take every head once, in an order drawn by the seed, then every head again."""
    images = sorted(_boxes(data_dir))
    order = np.random.default_rng((seed, STREAM)).permutation(len(images))
    return [(number, images[order[number % len(images)]]) for number in range(count)]


def _draw(data_dir: Path, out: Path, seed: int, job: tuple[int, str]) -> Rows:
    number, image = job
    pixels = cv2.imread(str(data_dir / FOLDER / "images" / image), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise BadInput(f"{image} of {data_dir / FOLDER} is not a picture")
    rng = np.random.default_rng((seed, STREAM, number))
    changed, categories = change_head(np.asarray(pixels, dtype=np.uint8), _boxes(data_dir)[image], rng)
    name, origin = save_image(out / FOLDER, f"changed{number:05d}", changed.pixels), Path(image).stem
    height, width = changed.pixels.shape
    boxes = box_rows(name, changed.boxes)
    told: list[Row] = [
        (name, structure, category, int(structure not in changed.boxes), origin)
        for structure, category in categories.items()
    ]
    return {PLANES: [(name, width, height, 1, "changed", origin)], BOXES: boxes, CATEGORIES: told}


@lru_cache(maxsize=4)
def _boxes(data_dir: Path) -> dict[str, dict[str, Box]]:
    """Read the boxes of the heads that show enough structures which can be changed."""
    table = data_dir / BOXES
    if not table.is_file():
        return {}
    heads: dict[str, dict[str, Box]] = {}
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            box = (float(row["x_min"]), float(row["y_min"]), float(row["x_max"]), float(row["y_max"]))
            heads.setdefault(row["image"], {})[row["structure"]] = box
    return {image: boxes for image, boxes in heads.items() if len(boxes.keys() & CHANGES.keys()) >= FEWEST_STRUCTURES}
