from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from dicom_node.errors import BadInput
from dicom_node.training.datasets import read_planes
from dicom_node.training.evaluate import evaluate

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("planes", ("top1", "top2", "f1_macro", "brain_top1", "parameters")),
        ("biometry", ("hc_mae_mm", "hc_mae_percent", "head_dice", "region_accuracy", "failed")),
    ],
)
def test_an_evaluation_tells_its_figures_with_n_and_data(phantoms: Path, task: str, keys: tuple[str, ...]) -> None:
    report = evaluate(task, phantoms, MODELS, "cpu")
    assert report["data"] == "simulated"
    assert all(isinstance(report[key], float) for key in keys)
    assert all(
        set(figure) == {"value", "ci95", "n", "images"} and figure["n"] > 0 for figure in report["figures"].values()
    )
    json.dumps(report, allow_nan=False)


def test_a_figure_that_the_images_do_not_define_is_left_out(phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms / "planes" / "images", tmp_path / "planes" / "images")
    with (phantoms / "planes" / "labels.csv").open(encoding="utf-8") as table:
        rows = [{**row, "plane": "Other", "brain_plane": ""} for row in csv.DictReader(table)]
    with (tmp_path / "planes" / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = evaluate("planes", tmp_path, MODELS, "cpu")  # nothing in scope to tell them from
    assert "reject_auc" not in {**report, **report["figures"]}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_structures_are_told_per_detector_and_structure(phantoms: Path) -> None:
    report = evaluate("structures", phantoms, MODELS, "cpu")
    assert set(report["yolo11"]) == {"f1_50", "map50", "mean_iou", "per_structure"}
    assert len(report["yolo11"]["per_structure"]) == 9


def test_images_that_the_weights_have_seen_are_not_measured(tmp_path: Path, phantoms: Path) -> None:
    shutil.copytree(MODELS / "planes", tmp_path / "planes")
    examples = read_planes(phantoms)
    groups = sorted({example.picture.group for example in examples})
    (tmp_path / "planes" / "efficientnet_lite0.seen.txt").write_text("\n".join(groups[1:]), encoding="utf-8")
    left = sum(example.picture.group == groups[0] for example in examples)
    assert evaluate("planes", phantoms, tmp_path, "cpu")["figures"]["head_circumference_is_brain"]["n"] == left
    (tmp_path / "planes" / "efficientnet_lite0.seen.txt").write_text("\n".join(groups), encoding="utf-8")
    with pytest.raises(BadInput, match="every image"):
        evaluate("planes", phantoms, tmp_path, "cpu")


def test_no_evaluation_measures_what_is_not_a_task(phantoms: Path) -> None:
    with pytest.raises(BadInput, match="no evaluation measures 'tea'"):
        evaluate("tea", phantoms, MODELS)
