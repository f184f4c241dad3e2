"""Radiomic and deep features of the boxes of many heads, on disk.

A part of the table holds ``PART`` heads. Its file is named by a hash of what made it (pictures, boxes, network), so an
interrupted extraction goes on where it was, and another detector or network makes other files.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_node.inference.batching import batches
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.radiomics import (
    AREA,
    BINS,
    RADIOMIC_NAMES,
    SIGMA_PX,
    USUAL_SIDE_PX,
    head_scale,
    radiomic_features,
)
from dicom_node.training.datasets import Boxes, HeadExample, grey_image
from dicom_node.training.perturbation import Grey, seen_again

if TYPE_CHECKING:
    from dicom_node.tasks.structures.deep import CropNet

PART = 16
FOUND = "found"  #: the boxes as they are, beside the kinds of difference of ``perturbation``


@dataclass(frozen=True, slots=True)
class Rows:
    """A row for each box: its image's name (m,), its structure (m,) and its features (m, n)."""

    images: npt.NDArray[np.str_]
    structures: npt.NDArray[np.int64]
    features: npt.NDArray[np.float64]

    def of_images(self, wanted: Iterable[str]) -> Rows:
        """Choose the rows of some images."""
        chosen = np.isin(self.images, list(wanted))
        return Rows(self.images[chosen], self.structures[chosen], self.features[chosen])


@dataclass(frozen=True, slots=True)
class DeepNetwork:
    """The network of the deep features, loaded, with the name of its numbers and the size of its crops."""

    net: CropNet
    sha256: str
    size: int
    device: str


def features_of(
    heads: Sequence[HeadExample], deep: DeepNetwork, folder: Path, *, again: bool = False, processes: int = 1
) -> dict[str, Rows]:
    """Give the features (radiomic ones first) of all boxes of heads; with ``again`` also of the boxes seen again."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(batches(heads, PART))
    extract = partial(_radiomic_part, folder=folder, again=again)
    missing = [part for part in parts if not _radiomic_path(part, folder, again=again).is_file()]
    if processes > 1 and len(missing) > 1:  # what they write is read below
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(extract, missing))
    radiomic = [extract(part) for part in parts]
    found: dict[str, list[Rows]] = {}
    for part, first in zip(parts, radiomic, strict=True):
        second = _deep_part(part, deep, folder, again=again)
        for kind, values in first.items():
            images = np.array([head.picture.path.name for head in part for _ in head.boxes])
            structures = np.array([STRUCTURES.index(name) for head in part for name in head.boxes], dtype=np.int64)
            both = np.concatenate([values, second[kind]], axis=1, dtype=np.float64)
            found.setdefault(kind, []).append(Rows(images, structures, both))
    return {
        kind: Rows(
            np.concatenate([rows.images for rows in listed]),
            np.concatenate([rows.structures for rows in listed]),
            np.concatenate([rows.features for rows in listed]),
        )
        for kind, listed in found.items()
    }


def _radiomic_part(part: Sequence[HeadExample], folder: Path, *, again: bool) -> dict[str, Any]:
    path = _radiomic_path(part, folder, again=again)
    if path.is_file():
        return _read(path)
    rows: dict[str, list[npt.NDArray[np.float64]]] = {}
    for head in part:
        for kind, (grey, boxes) in _versions(head, again=again).items():
            scale = head_scale(boxes)
            rows.setdefault(kind, []).extend(
                radiomic_features(grey, box, RADIOMIC_NAMES, scale) for box in boxes.values()
            )
    return _write(path, {kind: np.stack(values) for kind, values in rows.items()})


def _radiomic_path(part: Sequence[HeadExample], folder: Path, *, again: bool) -> Path:
    made_by = f"radiomic {AREA} {BINS} {SIGMA_PX} {USUAL_SIDE_PX} {RADIOMIC_NAMES}"
    return folder / f"radiomic-{_hash(part, made_by, again=again)}.npz"


def _deep_part(part: Sequence[HeadExample], deep: DeepNetwork, folder: Path, *, again: bool) -> dict[str, Any]:
    from dicom_node.tasks.structures.deep import crop_of, deep_features  # noqa: PLC0415 - torch

    path = folder / f"deep-{_hash(part, f'{deep.sha256} {deep.size}', again=again)}.npz"
    if path.is_file():
        return _read(path)
    crops: dict[str, list[Grey]] = {}
    for head in part:
        for kind, (grey, boxes) in _versions(head, again=again).items():
            crops.setdefault(kind, []).extend(crop_of(grey, box, deep.size) for box in boxes.values())
    return _write(path, {kind: deep_features(deep.net, listed, deep.device) for kind, listed in crops.items()})


def _versions(head: HeadExample, *, again: bool) -> dict[str, tuple[Grey, Boxes]]:
    """Give a head as it is and, if wanted, as it is seen again: by its name, always the same way."""
    grey = grey_image(head.picture.path)
    rng = np.random.default_rng(zlib.crc32(head.picture.path.name.encode()))
    return {FOUND: (grey, head.boxes), **(seen_again(grey, head.boxes, rng) if again else {})}


def _hash(part: Sequence[HeadExample], made_by: str, *, again: bool) -> str:
    what = [made_by, again, *((head.picture.path.name, sorted(head.boxes.items())) for head in part)]
    return hashlib.sha256(repr(what).encode()).hexdigest()[:20]


def _read(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def _write(path: Path, arrays: Mapping[str, Any]) -> dict[str, Any]:
    partial_path = path.with_suffix(".partial")
    with partial_path.open("wb") as file:
        np.savez(file, **arrays)
    partial_path.replace(path)
    return dict(arrays)
