"""The simulated set `brain_anomalies`: pictures, labels.csv as the real set has it, and where each lesion lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2

from dicom_node.simulator.anomalies.examination import examination, generators, take
from dicom_node.simulator.files import Row, save_image, write_table

LABELS_HEADER = ("image", "label", "patient", "is_augmented_copy", "view", "weeks")  # the last two: simulated only
LESIONS_HEADER = ("image", "x_min", "y_min", "x_max", "y_max")  # images that show no lesion have no row
WORTH_A_POOL = 100  #: images; starting processes costs about as much time as drawing ten
CHUNK = 16

Place = tuple[int, int, int]  #: image number, patient number, number of the image in the examination


def write_brain_anomalies(out: Path, count: int, seed: int) -> None:
    """Write `count` images of as many examinations as they fill; the last one may be cut short."""
    folder = out / "brain_anomalies"
    draw = partial(_draw, folder, seed)
    places = list(_places(count, seed))
    if count < WORTH_A_POOL:
        made = [draw(place) for place in places]
    else:
        processes = min(os.cpu_count() or 1, 8)
        with ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
            made = list(pool.map(draw, places, chunksize=CHUNK))
    write_table(folder / "labels.csv", LABELS_HEADER, (label for label, _ in made))
    write_table(folder / "lesions.csv", LESIONS_HEADER, (lesion for _, lesion in made if lesion is not None))


def _places(count: int, seed: int) -> Iterator[Place]:
    number = patient = 0
    while number < count:
        for index in range(min(len(examination(seed, patient)), count - number)):
            yield number, patient, index
            number += 1
        patient += 1


def _draw(folder: Path, seed: int, place: Place) -> tuple[Row, Row | None]:
    number, patient, index = place
    image = take(examination(seed, patient)[index], *generators(seed, number))
    name = save_image(folder, f"sim{number:05d}", image.pixels)
    label: Row = (name, image.label, f"sim{patient:05d}", 0, image.view, round(image.weeks, 1))
    return label, None if image.lesion is None else (name, *(round(edge, 1) for edge in image.lesion))
