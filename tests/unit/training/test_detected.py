"""The table of found boxes is made once for a detector and its pictures, and never taken for another's."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.manifest import Manifest
from dicom_node.tasks.structures import SCORE_FLOOR, Structures
from dicom_node.training.datasets import read_boxes, read_head_pictures
from dicom_node.training.detected import detect_boxes
from dicom_node.training.measuring import frame_of, loaded

MODELS = Path(__file__).parents[3] / "models"


def test_other_pictures_and_another_detector_have_a_table_of_their_own(phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms / "head_structures", data / "head_structures")
    planes = data / "head_structures" / "planes.csv"
    planes.write_text("".join(planes.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    first = detect_boxes(data, MODELS, "cpu", tmp_path / "runs")
    rows = list(csv.DictReader(first.read_text(encoding="utf-8").splitlines()))
    assert {row["structure"] for row in rows} >= {"thalami", "midbrain"}
    task = loaded("structures", Structures, MODELS, "cpu", detector="yolo11")
    (boxes,) = task.boxes([frame_of(read_head_pictures(data)[0])], SCORE_FLOOR)
    read = read_boxes(first)[read_head_pictures(data)[0].path.name]
    assert {name: box for name, (box, _) in boxes.items()} == {
        name: pytest.approx(box, abs=0.06) for name, box in read.items()
    }
    first.write_text("kept\n", encoding="utf-8")
    assert detect_boxes(data, MODELS, "cpu", tmp_path / "runs") == first
    assert first.read_text(encoding="utf-8") == "kept\n"

    planes.write_text("".join(planes.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    assert detect_boxes(data, MODELS, "cpu", tmp_path / "runs") != first

    models = tmp_path / "models"
    shutil.copytree(MODELS / "structures", models / "structures")
    manifest = models / "structures" / "manifest.yaml"
    sha256 = Manifest.read(models / "structures").networks["yolo11"].sha256
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(sha256, "0" * 64), encoding="utf-8")
    with pytest.raises(ModelError):  # another detector is asked for: its table is not there, nor are its weights
        detect_boxes(data, models, "cpu", tmp_path / "runs")
