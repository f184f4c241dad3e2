"""One prediction per task on pictures that never change, so that no change of a model or its code goes unseen.

The pictures are phantoms on which no score lies near a threshold: processors round otherwise. After an intended change,
``python tests/tasks/test_golden.py`` writes the baselines anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dicom_node.domain.finding import (
    Classification,
    Detection,
    Finding,
    HeatMap,
    Measurement,
    NotAssessable,
    Segmentation,
    frames_of,
)
from dicom_node.domain.frame import Calibration, Frame, FrameReference, Region
from dicom_node.inference.registry import load_task
from dicom_node.inference.task import StudyTask

MODELS = Path(__file__).parents[2] / "models"
BASELINES = Path(__file__).parent / "baselines"
PICTURES = {
    "brain": "brain.jpg",
    "abdomen": "abdomen.jpg",
    "femur": "femur.jpg",
    "midsagittal_head": "midsagittal_head.jpg",
}
OTHER_DETECTORS = ("structures-swin", "structures-both")
MM_PER_PX = 0.2
# Room for other processors and decoders: scores and probabilities, pixels, and sizes.
SCORE_ROOM, PIXEL_ROOM, SIZE_ROOM = 0.05, 4.0, 0.015
CATEGORY_ROOM = 0.15  #: read from boxes, some of which are nine pixels thin and move by a fraction of one


def frames() -> list[Frame]:
    """Read the pictures, each on the plane that it shows."""
    found = []
    for plane, name in PICTURES.items():
        image = cv2.imread(str(Path(__file__).parent / "pictures" / name), cv2.IMREAD_COLOR)
        assert image is not None
        rows, columns = image.shape[:2]
        scale = Calibration((Region(0, 0, columns - 1, rows - 1, MM_PER_PX, MM_PER_PX),))
        found.append(Frame(FrameReference("1.2", name), np.asarray(image, dtype=np.uint8), scale).on_plane(plane, 1.0))
    return found


def told(finding: Finding) -> dict[str, Any]:
    """Say what a finding says, in numbers that can be compared."""
    common = {"picture": frames_of(finding)[0].sop_instance_uid, "kind": type(finding).__name__, "name": finding.name}
    match finding:
        case Classification():
            likely = max(probability for _, probability in finding.probabilities)
            return {**common, "value": finding.value_name, "score": round(likely, 3)}
        case Detection():
            box = [round(edge, 1) for edge in finding.box_xyxy_px]
            return {**common, "code": finding.structure.value, "box": box, "score": round(finding.score, 3)}
        case Measurement():
            return {**common, "code": finding.quantity.value, "size": round(finding.value, 2), "unit": finding.unit}
        case Segmentation():
            area = cv2.contourArea(np.array(finding.contour.points_px, dtype=np.float32))
            return {**common, "code": finding.structure.value, "size": round(area**0.5, 1)}
        case HeatMap():
            return {**common, "value": finding.value_name, "score": round(finding.probability, 3)}
        case NotAssessable():
            return {**common, "reason": finding.reason}


def prediction(name: str) -> list[dict[str, Any]]:
    """Run a task on the pictures that it accepts; one that answers for a study concludes from them.

    ``task-detector`` is a task with another detector than the usual one.
    """
    name, _, detector = name.partition("-")
    task = load_task(name, MODELS, "cpu", **({"detector": detector} if detector else {}))
    accepted = [frame for frame in frames() if task.accepts(frame)]
    found = task.predict(accepted)
    if isinstance(task, StudyTask):
        found += task.conclude(found, [frame.reference for frame in accepted])
    return [told(finding) for finding in found]


@pytest.mark.parametrize("name", sorted(path.stem for path in BASELINES.glob("*.json")))
def test_a_task_says_what_it_said(name: str) -> None:
    expected = json.loads((BASELINES / f"{name}.json").read_text(encoding="utf-8"))
    found = prediction(name)
    assert expected
    numbers = {"score", "box", "size"}
    assert [{k: v for k, v in one.items() if k not in numbers} for one in found] == [
        {k: v for k, v in one.items() if k not in numbers} for one in expected
    ]
    for one, other in zip(found, expected, strict=True):
        room = CATEGORY_ROOM if one["name"].endswith("_category") else SCORE_ROOM
        assert one.get("score", 0) == pytest.approx(other.get("score", 0), abs=room)
        assert one.get("box", []) == pytest.approx(other.get("box", []), abs=PIXEL_ROOM)
        assert one.get("size", 0) == pytest.approx(other.get("size", 0), rel=SIZE_ROOM)


def test_the_gate_knows_each_picture() -> None:
    planes = {one["picture"]: one["value"] for one in prediction("planes") if one["name"] == "plane"}
    assert planes == {picture: plane for plane, picture in PICTURES.items()}


if __name__ == "__main__":
    BASELINES.mkdir(exist_ok=True)
    for name in (*sorted(path.name for path in MODELS.iterdir() if path.is_dir()), *OTHER_DETECTORS):
        text = json.dumps(prediction(name), indent=1)
        (BASELINES / f"{name}.json").write_text(text + "\n", encoding="utf-8")
