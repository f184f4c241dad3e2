"""What export ships: only what fits the card, into which it writes the hash and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dicom_node.errors import BadInput, ModelError
from dicom_node.inference.manifest import Manifest, sha256_of
from dicom_node.inference.registry import load_task
from dicom_node.tasks.planes.net import PlanesNet
from dicom_node.training.export import Evaluation, export, figures_table, record, record_metrics, write_hash
from dicom_node.training.recipes.planes import PlanesRecipe
from dicom_node.training.seen import seen_by

ROOT = Path(__file__).parents[3]
MODEL, PAGE = ROOT / "models" / "planes", ROOT / "docs" / "models" / "planes.md"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What export reads of a checkpoint, of an untrained network."""
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    average = {f"module.{name}": value for name, value in PlanesNet().state_dict().items()}
    torch.save({"config": PlanesRecipe().config(), "average": average}, path)
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the shipped model, and of its page beside it."""
    shutil.copytree(MODEL, tmp_path / "models" / "planes")
    (tmp_path / "docs" / "models").mkdir(parents=True)
    shutil.copy(PAGE, tmp_path / "docs" / "models")
    return tmp_path / "models"


def report(data: str, **values: float) -> dict[str, Any]:
    """What an evaluation of planes tells."""
    figures = {name: {"value": v, "ci95": (0.25, 0.75), "n": 9, "images": "planes"} for name, v in values.items()}
    return {"data": data, "figures": figures, **values}


@pytest.mark.parametrize("remark", ["", " # what a person says of it"])
def test_new_weights_are_hashed_into_their_entry_and_the_rest_stays(tmp_path: Path, remark: str) -> None:
    folder = tmp_path / "planes"
    shutil.copytree(MODEL, folder)
    (network,) = Manifest.read(folder).networks
    card = folder / "manifest.yaml"
    before = card.read_text(encoding="utf-8").replace(f"  {network}:\n", f"  {network}:{remark}\n", 1)
    card.write_text(before, encoding="utf-8")
    old = sha256_of(Manifest.read(folder).weights_path(network))
    with Manifest.read(folder).weights_path(network).open("ab") as weights:
        weights.write(b"new")
    with pytest.raises(ModelError, match="its manifest says"):
        Manifest.read(folder).check_weights()
    write_hash(folder, network)
    new = sha256_of(Manifest.read(folder).weights_path(network))
    assert card.read_text(encoding="utf-8") == before.replace(old, new)


def test_a_network_of_another_size_than_its_card_says_is_not_shipped(
    phantoms: Path, models: Path, checkpoint: Path
) -> None:
    card = models / "planes" / "manifest.yaml"
    text = card.read_text(encoding="utf-8").replace(f"width: {PlanesRecipe.width},", "width: 96,")
    card.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=rf"trained on {PlanesRecipe.width} x .* says 96 x {PlanesRecipe.height}"):
        export(PlanesRecipe(), checkpoint, models, phantoms)
    card.write_text(text.replace("  efficientnet_lite0:", "  renamed:"), encoding="utf-8")
    with pytest.raises(BadInput, match="has no network 'efficientnet_lite0'"):
        export(PlanesRecipe(), checkpoint, models, phantoms)
    assert sha256_of(models / "planes" / "efficientnet_lite0.safetensors") in text  # the old ones lie there still


@pytest.mark.parametrize(
    "stopped_at", ["efficientnet_lite0.safetensors", "efficientnet_lite0.seen.txt", "manifest.yaml"]
)
def test_a_shipping_that_stops_leaves_the_old_model_or_a_clear_error(
    phantoms: Path, models: Path, checkpoint: Path, stopped_at: str
) -> None:
    folder = models / "planes"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    in_the_way = folder / f"{stopped_at}.partial"
    in_the_way.mkdir()  # what cannot be written stops it, as a full disk does
    with pytest.raises(Exception, match="Is a directory"):
        export(PlanesRecipe(), checkpoint, models, phantoms)
    in_the_way.rmdir()
    assert (folder / stopped_at).read_bytes() == before[stopped_at]
    if stopped_at.endswith(".safetensors"):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    else:
        with pytest.raises(ModelError, match="its manifest says"):
            load_task("planes", models, "cpu")
    export(PlanesRecipe(), checkpoint, models, phantoms)
    load_task("planes", models, "cpu")
    assert {path.name for path in folder.iterdir()} == set(before)


def test_a_patient_whose_name_has_a_space_is_known_as_seen(tmp_path: Path) -> None:
    (tmp_path / "unet.seen.txt").write_text("planes/MV 12\nplanes/709\n", encoding="utf-8")
    assert set(seen_by(tmp_path).groups) == {"planes/MV 12", "planes/709"}


def test_what_was_measured_takes_the_place_of_its_kind_of_data_alone(models: Path) -> None:
    before = Manifest.read(models / "planes").metrics
    manifest = record_metrics("planes", models, [Evaluation("phantoms", "PHANTOMS", report("simulated", top1=0.5))])
    *real, simulated = manifest.metrics
    assert real == [metric for metric in before if metric.data == "real"]
    assert (simulated.name, simulated.value, simulated.dataset) == ("top1", 0.5, "planes, phantoms")
    manifest = record_metrics("planes", models, [Evaluation("test split", "DIR", report("real", top1=0.4, top2=0.6))])
    assert [(m.name, m.value, m.data, m.command) for m in manifest.metrics] == [
        ("top1", 0.4, "real", "DIR"),
        ("top2", 0.6, "real", "DIR"),
        ("top1", 0.5, "simulated", "PHANTOMS"),
    ]


def test_a_figure_of_simulated_changes_is_simulated_whatever_it_comes_with(models: Path) -> None:
    simulated = report("simulated", **{"f1": 0.1, "categories.simulated.accuracy": 0.2})
    real = report("real", **{"f1": 0.3, "categories.simulated.accuracy": 0.4})
    for one in (simulated, real):
        one["categories"] = {"simulated": {"data": "simulated"}}
    record_metrics("planes", models, [Evaluation("phantoms", "PHANTOMS", simulated)])
    manifest = record_metrics("planes", models, [Evaluation("changed heads", "DIR", real)])
    assert [(metric.name, metric.value, metric.data) for metric in manifest.metrics] == [
        ("f1", 0.3, "real"),
        ("f1", 0.1, "simulated"),
        ("categories.simulated.accuracy", 0.4, "simulated"),
    ]


@pytest.mark.parametrize("after", ["", "\n**More.** Words.\n\n| figure | of another table |\n"])
def test_the_table_of_a_page_is_that_of_the_card_and_the_rest_stays(models: Path, after: str) -> None:
    page = models.parent / "docs" / "models" / "planes.md"
    old = figures_table(Manifest.read(models / "planes"))
    before, found, _ = page.read_text(encoding="utf-8").partition(old)
    page.write_text(before + found + after, encoding="utf-8")
    record("planes", models, [Evaluation("phantoms", "PHANTOMS", report("simulated", top1=0.5))])
    new = figures_table(Manifest.read(models / "planes"))
    assert "| `top1` | 0.5 | 0.25 to 0.75 | 9 | simulated: planes, phantoms |\n" in new
    assert page.read_text(encoding="utf-8") == before + new + after


def test_without_a_page_for_them_no_figure_is_written(models: Path) -> None:
    page = models.parent / "docs" / "models" / "planes.md"
    page.write_text("# planes\n", encoding="utf-8")
    card = (models / "planes" / "manifest.yaml").read_bytes()
    with pytest.raises(BadInput, match="has no table of figures"):
        record("planes", models, [Evaluation("phantoms", "PHANTOMS", report("simulated", top1=0.5))])
    assert (models / "planes" / "manifest.yaml").read_bytes() == card
