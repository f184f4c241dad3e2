from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.errors import BadInput
from dicom_node.inference.manifest import Manifest
from dicom_node.training.datasets import read_planes
from dicom_node.training.evaluate import evaluate, evaluations_in
from dicom_node.training.export import figures_table

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


def test_a_card_tells_on_what_and_by_which_command_it_was_measured() -> None:
    told = {"data": "simulated", "figures": {}}
    (alone,) = evaluations_in({"task": "planes", **told}, "some phantoms")
    assert (alone.dataset, alone.command) == ("some phantoms", "dicom-node evaluate planes --data PHANTOMS")
    (alone,) = evaluations_in({"task": "planes", **told, "data": "real"}, "test split")
    assert (alone.dataset, alone.command) == ("test split", "dicom-node evaluate planes --data DIR")
    card = Manifest.read(MODELS / "anomalies").metrics  # which has both at once
    both = evaluations_in({"task": "anomalies", "real": {"data": "real"}, "simulated": told}, "pictures not seen")
    assert [(one.report["data"], one.command) for one in both] == list(dict.fromkeys((m.data, m.command) for m in card))
    assert all(m.dataset.endswith(both[1].dataset) for m in card if m.data == "simulated")


def test_the_command_writes_what_it_measured_into_card_and_page(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("models/planes", "docs/models"):
        shutil.copytree(MODELS.parent / place, tmp_path / place)
    monkeypatch.setattr("dicom_node.bootstrap.MODELS", tmp_path / "models")
    arguments = ["evaluate", "planes", "--data", str(phantoms), "--device", "cpu", "--record", "a few phantoms"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    manifest = Manifest.read(tmp_path / "models" / "planes")
    (recorded,) = [m for m in manifest.metrics if m.name == "midsagittal_head_recall" and m.data == "simulated"]
    assert recorded.value == pytest.approx(report["midsagittal_head_recall"], abs=1e-4)
    assert recorded.dataset == "head_structures, a few phantoms"
    assert figures_table(manifest) in (tmp_path / "docs" / "models" / "planes.md").read_text(encoding="utf-8")
