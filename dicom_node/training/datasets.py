"""Readers of the tables beside the images, and who belongs to which split.

A data folder holds ``planes``, ``biometry_landmarks``, ``head_circumference``, ``head_structures`` and
``brain_anomalies``, each with ``images`` and its tables. Simulated pictures come in the same layout; the names of their
owners begin with ``sim``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.errors import BadInput
from dicom_node.tasks.biometry.geometry import Array, Ellipse

Split = Literal["train", "valid", "test"]
SPLIT_SEED = 20260
SIMULATED_PREFIX = "sim"
#: Boxes are drawn in whole pixels: a number names the pixel in which an edge lies, on average at its middle.
WITHIN_PIXEL = 0.5
PLANE_NAMES = {
    "Fetal brain": "brain",
    "Fetal abdomen": "abdomen",
    "Fetal femur": "femur",
    "Fetal thorax": "thorax",
    "Maternal cervix": "cervix",
    "Other": "other",
    "First-trimester mid-sagittal head": "midsagittal_head",
}
BRAIN_PLANE_NAMES = {
    "Trans-thalamic": "trans_thalamic",
    "Trans-cerebellum": "trans_cerebellar",
    "Trans-ventricular": "trans_ventricular",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """Where an image lies, and whose it is: ``group`` names the set and the fetus or patient."""

    path: Path
    group: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class PlaneExample:
    """A picture with its standard plane, and its brain plane where that is known."""

    picture: Picture
    plane: str
    brain_plane: str | None = None


@dataclass(frozen=True, slots=True)
class StructureExample:
    """A picture with a box (x0, y0, x1, y1 in pixels) per structure that is visible."""

    picture: Picture
    boxes: Mapping[str, tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True)
class BiometryExample:
    """A picture with its region and that region's shape in pixels: an ellipse, or both ends (2, 2) of a femur.

    ``value_mm`` is HC, AC or FL as the table gives it.
    """

    picture: Picture
    region: str
    shape: Ellipse | Array
    mm_per_px: float
    value_mm: float


@dataclass(frozen=True, slots=True)
class AnomalyExample:
    """A picture with its patient's label, and the box (x0, y0, x1, y1 in pixels) of the lesion where it is known."""

    picture: Picture
    label: str
    lesion: tuple[float, float, float, float] | None = None

    @property
    def shows(self) -> str:
        """Say what the picture itself shows: a simulated one without a lesion's box is of a plane that misses it."""
        return "normal" if self.picture.simulated and self.lesion is None else self.label


Boxes = Mapping[str, tuple[float, float, float, float]]  #: by structure


@dataclass(frozen=True, slots=True)
class HeadExample:
    """A mid-sagittal head, standard or not, with boxes that were found or drawn.

    ``standard`` is None where nobody judged the plane. ``categories`` (normal, borderline, abnormal) are of simulated
    changes, by structure.
    """

    picture: Picture
    boxes: Boxes
    standard: bool | None
    categories: Mapping[str, str]


Example = PlaneExample | StructureExample | BiometryExample | AnomalyExample | HeadExample
Kind = TypeVar("Kind", PlaneExample, StructureExample, BiometryExample, AnomalyExample, HeadExample)


def split_of(group: str, seed: int = SPLIT_SEED) -> Split:
    """Say to which split a fetus or patient belongs: 75 % train, 10 % valid, 15 % test, by a hash of the name alone.

    Mid-sagittal heads have no fetus: images whose number ends in 7 are test and those in 3 valid, so that the test
    split is the one which the starting weights have not seen either.
    """
    dataset, _, name = group.partition("/")
    if dataset == "head_structures":
        return {"7": "test", "3": "valid"}.get(name[-1], "train")  # type: ignore[return-value]
    place = int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8]) / 2**64
    return "test" if place < 0.15 else "valid" if place < 0.25 else "train"  # noqa: PLR2004


def read_planes(data_dir: Path) -> list[PlaneExample]:
    """Read ``planes``; with them the heads of ``head_circumference`` (brain) and of ``head_structures``.

    Non-standard heads of ``head_structures`` are left out: they are neither the plane nor surely another.
    """
    return _some(_planes(data_dir), data_dir)


def _planes(data_dir: Path) -> list[PlaneExample]:
    examples = [
        PlaneExample(
            _picture(data_dir, "planes", row["image"], row["patient"]),
            PLANE_NAMES[row["plane"]],
            BRAIN_PLANE_NAMES.get(row["brain_plane"]),
        )
        for row in _rows(data_dir / "planes" / "labels.csv")
    ]
    examples += [
        PlaneExample(_picture(data_dir, "head_circumference", row["image"], row["fetus"]), "brain")
        for row in _rows(data_dir / "head_circumference" / "labels.csv")
    ]
    examples += [
        PlaneExample(_picture(data_dir, "head_structures", row["image"], Path(row["image"]).stem), "midsagittal_head")
        for row in _rows(data_dir / "head_structures" / "planes.csv")
        if row["standard_plane"] == "1"
    ]
    return examples


def read_structures(data_dir: Path) -> list[StructureExample]:
    """Read the standard planes of ``head_structures`` with their boxes."""
    boxes = read_boxes(data_dir / "head_structures" / "boxes.csv")
    return _some(
        [
            StructureExample(
                _picture(data_dir, "head_structures", row["image"], Path(row["image"]).stem), boxes[row["image"]]
            )
            for row in _rows(data_dir / "head_structures" / "planes.csv")
            if row["standard_plane"] == "1" and row["image"] in boxes
        ],
        data_dir,
    )


def read_heads(data_dir: Path, boxes_table: Path) -> list[HeadExample]:
    """Read all planes of ``head_structures`` with the boxes of a table; a head without boxes is left out.

    Simulated planes are standard or not as the simulator meant it, which nobody judged.
    """
    folder = data_dir / "head_structures"
    boxes = read_boxes(boxes_table)
    categories: dict[str, dict[str, str]] = {}
    for row in _rows(folder / "categories.csv"):
        categories.setdefault(row["image"], {})[row["structure"]] = row["category"]
    examples = []
    for row in _rows(folder / "planes.csv"):
        image = row["image"]
        picture = _picture(data_dir, "head_structures", image, row.get("origin") or Path(image).stem)
        standard = None if picture.simulated or image in categories else row["standard_plane"] == "1"
        if image in boxes:
            examples.append(HeadExample(picture, boxes[image], standard, categories.get(image, {})))
    return _some(examples, data_dir)


def read_head_pictures(data_dir: Path) -> list[Picture]:
    """List all pictures of ``head_structures``."""
    return [picture for picture, _ in read_head_planes(data_dir)]


def read_head_planes(data_dir: Path) -> list[tuple[Picture, bool]]:
    """List all pictures of ``head_structures``, and whether their plane is called standard."""
    return [
        (_picture(data_dir, "head_structures", row["image"], Path(row["image"]).stem), row["standard_plane"] == "1")
        for row in _rows(data_dir / "head_structures" / "planes.csv")
    ]


def read_boxes(table: Path) -> dict[str, dict[str, tuple[float, float, float, float]]]:
    """Read a table of boxes: image, structure, x_min, y_min, x_max, y_max, numbers of pixels counted from 0.

    The boxes given are continuous: 0 is the outer edge of the first pixel, and 0.5 its middle.
    """
    boxes: dict[str, dict[str, tuple[float, float, float, float]]] = {}
    for row in _rows(table):
        x0, y0, x1, y1 = (edge + WITHIN_PIXEL for edge in _box(row))
        boxes.setdefault(row["image"], {})[row["structure"]] = (x0, y0, x1, y1)
    return boxes


def read_biometry(data_dir: Path) -> list[BiometryExample]:
    """Read the ellipses of ``head_circumference`` and the landmarks on ``planes``."""
    examples = [
        BiometryExample(
            _picture(data_dir, "head_circumference", row["image"], row["fetus"]),
            "head",
            Ellipse.of(
                (float(row["ellipse_cx_px"]), float(row["ellipse_cy_px"])),
                float(row["semi_major_px"]),
                float(row["semi_minor_px"]),
                float(row["major_axis_deg"]),
            ),
            float(row["pixel_size_mm"]),
            float(row["hc_mm"]),
        )
        for row in _rows(data_dir / "head_circumference" / "labels.csv")
    ]
    examples += [
        BiometryExample(
            _picture(data_dir, "planes", row["image"], row["patient"]),
            row["region"],
            _axis(row, "axis1")
            if row["region"] == "femur"
            else _ellipse_of_axes(_axis(row, "axis1"), _axis(row, "axis2")),
            float(row["mm_per_px"]),
            float(row["value_mm"]),
        )
        for row in _rows(data_dir / "biometry_landmarks" / "landmarks.csv")
    ]
    return _some(examples, data_dir)


def read_anomalies(data_dir: Path) -> list[AnomalyExample]:
    """Read ``brain_anomalies`` with every label that its table has.

    Augmented copies are left out. The numbers of real patients are those of ``planes``, from where the normal heads
    come, so a patient has one name in both; an image without a patient is its own.
    """
    folder = data_dir / "brain_anomalies"
    lesions = {row["image"]: _box(row) for row in _rows(folder / "lesions.csv")}
    examples = []
    for row in _rows(folder / "labels.csv"):
        image, patient = row["image"], row["patient"].strip()
        if row["is_augmented_copy"] == "1":
            continue
        simulated = patient.startswith(SIMULATED_PREFIX)
        known = bool(patient) and not simulated
        number = str(int(patient)) if patient.isdecimal() else patient  # 00709 is 709 there
        owner = f"planes/{number}" if known else f"brain_anomalies/{patient or Path(image).stem}"
        picture = Picture(folder / "images" / image, owner, simulated)
        examples.append(AnomalyExample(picture, row["label"], lesions.get(image)))
    return _some(examples, data_dir)


def read_normal_heads(data_dir: Path) -> list[AnomalyExample]:
    """Read the heads of ``planes``, ``head_circumference`` and ``head_structures`` as normal.

    Nobody labelled them so: they are standard planes of sets in which no anomaly is mentioned.
    """
    heads = ("brain", "midsagittal_head")
    return [AnomalyExample(example.picture, "normal") for example in _planes(data_dir) if example.plane in heads]


def grey_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as grey values (rows, columns).

    :raises BadInput: the file is missing or no image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise BadInput(f"{path} cannot be read as an image")
    return np.asarray(image, dtype=np.uint8)


def _box(row: Mapping[str, str]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(row[key]) for key in ("x_min", "y_min", "x_max", "y_max"))
    return x0, y0, x1, y1


def _axis(row: Mapping[str, str], name: str) -> Array:
    return np.array([[float(row[f"{name}_{axis}{end}"]) for axis in "xy"] for end in (1, 2)])


def _ellipse_of_axes(first: Array, second: Array) -> Ellipse:
    """Give the ellipse around two measured diameters: their lengths, the longer one's direction, their mid-point."""
    longer, shorter = sorted((first, second), key=lambda ends: -float(np.linalg.norm(ends[1] - ends[0])))
    across = longer[1] - longer[0]
    centre = (first.mean(axis=0) + second.mean(axis=0)) / 2
    return Ellipse.of(
        (float(centre[0]), float(centre[1])),
        float(np.linalg.norm(across)) / 2,
        float(np.linalg.norm(shorter[1] - shorter[0])) / 2,
        float(np.degrees(np.arctan2(across[1], across[0]))),
    )


def _picture(data_dir: Path, dataset: str, image: str, owner: str) -> Picture:
    simulated = owner.startswith(SIMULATED_PREFIX)
    return Picture(data_dir / dataset / "images" / image, f"{dataset}/{owner}", simulated)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Give a table's rows; a table that is not there has none."""
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def _some(examples: list[Kind], data_dir: Path) -> list[Kind]:
    if not examples:
        raise BadInput(f"{data_dir} holds no images for this task; see the layout in docs/models")
    return examples
