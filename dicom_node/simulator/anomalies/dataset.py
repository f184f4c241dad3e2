"""The simulated set `brain_anomalies`: pictures, labels.csv as the real set has it, and where each lesion lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.simulator.anomalies.examination import examination, generators, take
from dicom_node.simulator.files import Row, save_image
from dicom_node.simulator.sets import Rows, SimulatedSet

FOLDER = "brain_anomalies"
LABELS, LESIONS = f"{FOLDER}/labels.csv", f"{FOLDER}/lesions.csv"
LABELS_HEADER = ("image", "label", "patient", "is_augmented_copy", "view", "weeks")  # the last two: simulated only
LESIONS_HEADER = ("image", "x_min", "y_min", "x_max", "y_max")  # images that show no lesion have no row

Place = tuple[int, int, int]  #: image number, patient number, number of the image in the examination


def places(count: int, seed: int) -> Iterator[Place]:
    """List the images of as many examinations as `count` fills; the last one may be cut short."""
    number = patient = 0
    while number < count:
        for index in range(min(len(examination(seed, patient)), count - number)):
            yield number, patient, index
            number += 1
        patient += 1


def draw_place(out: Path, seed: int, place: Place) -> Rows:
    """Draw one image of an examination."""
    number, patient, index = place
    image = take(examination(seed, patient)[index], *generators(seed, number))
    name = save_image(out / FOLDER, f"sim{number:05d}", image.pixels)
    label: Row = (name, image.label, f"sim{patient:05d}", 0, image.view, round(image.weeks, 1))
    lesion: list[Row] = [] if image.lesion is None else [(name, *(round(edge, 1) for edge in image.lesion))]
    return {LABELS: [label], LESIONS: lesion}


BRAIN_ANOMALIES = SimulatedSet({LABELS: LABELS_HEADER, LESIONS: LESIONS_HEADER}, draw_place, places)
