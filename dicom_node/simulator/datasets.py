"""Simulated data sets on disk, in the folders and tables that the training recipes read real ones from.

head_structures/     images/, planes.csv, boxes.csv
head_circumference/  images/, labels.csv
planes/              images/, labels.csv
biometry_landmarks/  landmarks.csv, which names images of planes/
brain_anomalies/     images/, labels.csv, lesions.csv (boxes, which only the simulated set has)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.anomalies.dataset import write_brain_anomalies
from dicom_node.simulator.files import Row, save_image, write_table
from dicom_node.simulator.phantoms import ANATOMIES
from dicom_node.simulator.records import FETAL_ABDOMEN, FETAL_BRAIN, FETAL_FEMUR, PhantomImage
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.surroundings import chance

STANDARD_SHARE = 0.77  #: of the mid-sagittal heads; the others are oblique and have no boxes
PLANES_MIX = {"axial_head": 0.4, "abdomen": 0.15, "femur": 0.15, "thorax": 0.15, "cervix": 0.07, "other": 0.08}
IMAGES_PER_PATIENT = 3
REGIONS = {FETAL_BRAIN: "head", FETAL_ABDOMEN: "abdomen", FETAL_FEMUR: "femur"}

PLANES_HEADER = ("image", "width", "height", "standard_plane", "subset")
BOXES_HEADER = ("image", "structure", "x_min", "y_min", "x_max", "y_max")
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


def write_dataset(out: Path, counts: Mapping[str, int], seed: int) -> None:
    """Write `counts` images of each named set (a key of SETS) under `out`.

    The same seed writes the same files. An image's seed does not depend on the count, so a larger set contains
    the smaller one.
    """
    for name, count in counts.items():
        SETS[name](out, count, seed)


def value_mm(phantom: PhantomImage) -> float:
    """Give what the landmarks table states: pi (d1 + d2) / 2 from two axes, else the length of the one axis."""
    lengths = [float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in phantom.landmarks.values()]
    is_round = "axis2" in phantom.landmarks
    return float((np.pi * sum(lengths) / 2.0 if is_round else lengths[0]) * phantom.mm_per_px)


def _write_head_structures(out: Path, count: int, seed: int) -> None:
    folder = out / "head_structures"
    planes: list[Row] = []
    boxes: list[Row] = []
    for number, rng in _generators(count, seed, stream=1):
        phantom = sagittal_head(rng, standard=chance(rng, STANDARD_SHARE))
        name = save_image(folder, f"sim{number:05d}", phantom.pixels)
        height, width = phantom.pixels.shape
        planes.append((name, width, height, int(phantom.standard_plane), "simulated"))
        boxes.extend((name, structure, *(round(edge) for edge in box)) for structure, box in phantom.boxes.items())
    write_table(folder / "planes.csv", PLANES_HEADER, planes)
    write_table(folder / "boxes.csv", BOXES_HEADER, boxes)


def _write_head_circumference(out: Path, count: int, seed: int) -> None:
    folder = out / "head_circumference"
    rows: list[Row] = []
    for number, rng in _generators(count, seed, stream=2):
        phantom = ANATOMIES["axial_head"](rng)
        ellipse = phantom.ellipse
        if ellipse is None:
            continue
        name = save_image(folder, f"sim{number:05d}_HC", phantom.pixels)
        shape = (ellipse.cx_px, ellipse.cy_px, ellipse.semi_major_px, ellipse.semi_minor_px, ellipse.angle_deg)
        hc_mm = round(phantom.measurements_mm["HC"], 2)
        rows.append((name, f"sim{number:05d}", round(phantom.mm_per_px, 9), hc_mm, *(round(v, 2) for v in shape)))
    write_table(folder / "labels.csv", CIRCUMFERENCE_HEADER, rows)


def _write_planes(out: Path, count: int, seed: int) -> None:
    labels: list[Row] = []
    landmarks: list[Row] = []
    for number, rng in _generators(count, seed, stream=3):
        phantom = ANATOMIES[str(rng.choice(list(PLANES_MIX), p=list(PLANES_MIX.values())))](rng)
        patient = f"sim{number // IMAGES_PER_PATIENT:05d}"
        name = save_image(out / "planes", f"sim{number:05d}", phantom.pixels)
        height, width = phantom.pixels.shape
        labels.append((name, patient, phantom.plane, phantom.brain_plane, "Simulator", width, height, "native", 1))
        if phantom.landmarks:
            ends = [round(v, 1) for axis in phantom.landmarks.values() for point in axis for v in point]
            axes: Row = (*ends, *[""] * (8 - len(ends)))
            measured = (round(phantom.mm_per_px, 6), round(value_mm(phantom), 2))
            landmarks.append((name, patient, REGIONS[phantom.plane], *axes, *measured))
    write_table(out / "planes" / "labels.csv", LABELS_HEADER, labels)
    write_table(out / "biometry_landmarks" / "landmarks.csv", LANDMARKS_HEADER, landmarks)


def _generators(count: int, seed: int, stream: int) -> Iterator[tuple[int, Generator]]:
    for number in range(count):
        yield number, np.random.default_rng((seed, stream, number))


SETS: dict[str, Callable[[Path, int, int], None]] = {
    "head_structures": _write_head_structures,
    "head_circumference": _write_head_circumference,
    "planes": _write_planes,  # with its biometry_landmarks
    "brain_anomalies": write_brain_anomalies,
}
