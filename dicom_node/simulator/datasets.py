"""Simulated data sets on disk, in the folders and tables that the training recipes read real ones from.

head_structures/     images/, planes.csv, boxes.csv; with the set `structure_categories` also categories.csv
head_circumference/  images/, labels.csv
planes/              images/, labels.csv
biometry_landmarks/  landmarks.csv, which names images of planes/
brain_anomalies/     images/, labels.csv, lesions.csv

categories.csv and lesions.csv (boxes) hold what only simulated sets can have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.anomalies.dataset import BRAIN_ANOMALIES
from dicom_node.simulator.files import Row, save_image, write_table
from dicom_node.simulator.head_condition import draw_condition
from dicom_node.simulator.phantoms import ANATOMIES
from dicom_node.simulator.records import FETAL_ABDOMEN, FETAL_BRAIN, FETAL_FEMUR, Box, PhantomImage
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.sets import Advance, Rows, SimulatedSet, draw_set, no_progress
from dicom_node.simulator.surroundings import chance

#: Of what is drawn and written. Raise it when a seed draws other pictures or a table means something else: sets that
#: were kept are then not taken for new ones.
EDITION = 2
STANDARD_SHARE = 0.77  #: of the mid-sagittal heads; the others are oblique and have no boxes
PLANES_MIX = {"axial_head": 0.4, "abdomen": 0.15, "femur": 0.15, "thorax": 0.15, "cervix": 0.07, "other": 0.08}
IMAGES_PER_PATIENT = 3
REGIONS = {FETAL_BRAIN: "head", FETAL_ABDOMEN: "abdomen", FETAL_FEMUR: "femur"}

PLANES, BOXES, CATEGORIES = (f"head_structures/{table}.csv" for table in ("planes", "boxes", "categories"))
PLANES_HEADER = ("image", "width", "height", "standard_plane", "subset")
BOXES_HEADER = ("image", "structure", "x_min", "y_min", "x_max", "y_max")
CATEGORIES_HEADER = ("image", "structure", "category", "absent", "size_mm")
CIRCUMFERENCE_HEADER = (
    *("image", "fetus", "pixel_size_mm", "hc_mm", "ellipse_cx_px", "ellipse_cy_px"),
    *("semi_major_px", "semi_minor_px", "major_axis_deg"),
)
LABELS_HEADER = (
    *("image", "patient", "plane", "brain_plane", "us_machine", "width", "height", "resolution", "aspect_known"),
)
LANDMARKS_HEADER = (
    *("image", "patient", "region", "axis1_x1", "axis1_y1", "axis1_x2", "axis1_y2"),
    *("axis2_x1", "axis2_y1", "axis2_x2", "axis2_y2", "mm_per_px", "value_mm"),
)


def write_dataset(out: Path, counts: Mapping[str, int], seed: int, advance: Advance = no_progress) -> None:
    """Write `counts` images of each named set (a key of SETS) under `out`; `advance` is called after each image.

    The same seed writes the same files. An image's seed does not depend on the count, so a larger set contains
    the smaller one. From 100 images of a set on, all processors draw.
    """
    headers: dict[str, tuple[str, ...]] = {}
    rows: dict[str, list[Row]] = {}
    for name, count in counts.items():
        headers |= SETS[name].tables
        for path, added in draw_set(SETS[name], out, count, seed, advance=advance).items():
            rows.setdefault(path, []).extend(added)  # two sets may share a folder and its tables
    for path, header in headers.items():
        write_table(out / path, header, rows[path])


def value_mm(phantom: PhantomImage) -> float:
    """Give what the landmarks table states: pi (d1 + d2) / 2 from two axes, else the length of the one axis."""
    lengths = [float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in phantom.landmarks.values()]
    is_round = "axis2" in phantom.landmarks
    return float((np.pi * sum(lengths) / 2.0 if is_round else lengths[0]) * phantom.mm_per_px)


def _generator(seed: int, stream: int, number: int) -> Generator:
    return np.random.default_rng((seed, stream, number))


def _head_structures(out: Path, seed: int, number: int) -> Rows:
    rng = _generator(seed, 1, number)
    return _sagittal_rows(out, f"sim{number:05d}", sagittal_head(rng, standard=chance(rng, STANDARD_SHARE)))


def _structure_categories(out: Path, seed: int, number: int) -> Rows:
    rng = _generator(seed, 5, number)
    phantom = sagittal_head(rng, condition=draw_condition(rng))
    rows = _sagittal_rows(out, f"simc{number:05d}", phantom)
    name = rows[PLANES][0][0]
    sizes = phantom.measurements_mm
    categories: list[Row] = [
        (
            name,
            structure,
            category,
            int(structure not in sizes),
            round(sizes[structure], 2) if structure in sizes else "",
        )
        for structure, category in phantom.categories.items()
    ]
    return {**rows, CATEGORIES: categories}


def _sagittal_rows(out: Path, stem: str, phantom: PhantomImage) -> Rows:
    name = save_image(out / "head_structures", stem, phantom.pixels)
    height, width = phantom.pixels.shape
    planes: list[Row] = [(name, width, height, int(phantom.standard_plane), "simulated")]
    return {PLANES: planes, BOXES: box_rows(name, phantom.boxes)}


def box_rows(image: str, boxes: Mapping[str, Box]) -> list[Row]:
    """Give the rows of BOXES of one picture: as people draw them, in the numbers of the pixels where edges lie."""
    return [(image, structure, *(math.floor(edge) for edge in box)) for structure, box in boxes.items()]


def _head_circumference(out: Path, seed: int, number: int) -> Rows:
    phantom = ANATOMIES["axial_head"](_generator(seed, 2, number))
    ellipse = phantom.ellipse
    if ellipse is None:
        return {}
    name = save_image(out / "head_circumference", f"sim{number:05d}_HC", phantom.pixels)
    shape = (ellipse.cx_px, ellipse.cy_px, ellipse.semi_major_px, ellipse.semi_minor_px, ellipse.angle_deg)
    hc_mm = round(phantom.measurements_mm["HC"], 2)
    row: Row = (name, f"sim{number:05d}", round(phantom.mm_per_px, 9), hc_mm, *(round(v, 2) for v in shape))
    return {"head_circumference/labels.csv": [row]}


def _planes(out: Path, seed: int, number: int) -> Rows:
    rng = _generator(seed, 3, number)
    phantom = ANATOMIES[str(rng.choice(list(PLANES_MIX), p=list(PLANES_MIX.values())))](rng)
    patient = f"sim{number // IMAGES_PER_PATIENT:05d}"
    name = save_image(out / "planes", f"sim{number:05d}", phantom.pixels)
    height, width = phantom.pixels.shape
    label: Row = (name, patient, phantom.plane, phantom.brain_plane, "Simulator", width, height, "native", 1)
    landmarks: list[Row] = []
    if phantom.landmarks:
        ends = [round(v, 1) for axis in phantom.landmarks.values() for point in axis for v in point]
        axes: Row = (*ends, *[""] * (8 - len(ends)))
        measured = (round(phantom.mm_per_px, 6), round(value_mm(phantom), 2))
        landmarks.append((name, patient, REGIONS[phantom.plane], *axes, *measured))
    return {"planes/labels.csv": [label], "biometry_landmarks/landmarks.csv": landmarks}


SETS: dict[str, SimulatedSet] = {
    "head_structures": SimulatedSet({PLANES: PLANES_HEADER, BOXES: BOXES_HEADER}, _head_structures),
    "structure_categories": SimulatedSet(
        {PLANES: PLANES_HEADER, BOXES: BOXES_HEADER, CATEGORIES: CATEGORIES_HEADER},
        _structure_categories,
    ),
    "head_circumference": SimulatedSet({"head_circumference/labels.csv": CIRCUMFERENCE_HEADER}, _head_circumference),
    "planes": SimulatedSet(
        {"planes/labels.csv": LABELS_HEADER, "biometry_landmarks/landmarks.csv": LANDMARKS_HEADER}, _planes
    ),
    "brain_anomalies": BRAIN_ANOMALIES,
}
