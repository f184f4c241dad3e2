"""The loop on tiny pictures: it learns, it resumes, it writes everything down, and its weights can be shipped."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicom_node.errors import BadInput
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.planes.net import PlanesNet
from dicom_node.training.datasets import split_of
from dicom_node.training.export import export
from dicom_node.training.loop import Run, averaged, chosen, draw_weights, train
from dicom_node.training.recipe import Recipe, recipes_for
from dicom_node.training.recipes.planes import PlanesRecipe
from dicom_node.training.seen import seen_by

MODELS = Path(__file__).parents[3] / "models"
# Task, network, width and height of the pictures, steps, and the share of the highest loss that the last may have (an
# untrained detector is assigned hardly any box, so its first loss need not be its highest).
OVERFITTING = [
    ("planes", "efficientnet_lite0", 128, 96, 12, 0.5),
    ("biometry", "unet", 128, 96, 14, 0.75),
    ("structures", "yolo11", 192, 160, 24, 0.5),
    ("anomalies", "resnet34", 64, 64, 10, 0.5),
    ("structures", "swin", 192, 160, 24, 0.5),
]
Case = tuple[str, str, int, int, int, float]


def tiny(recipe: Recipe[Any], **changes: Any) -> Recipe[Any]:
    """The same recipe on small pictures."""
    small = type(
        recipe.__class__.__name__, (recipe.__class__,), {"width": 128, "height": 96, "batch_size": 6, **changes}
    )
    result: Recipe[Any] = small()
    return result


@pytest.mark.parametrize("case", OVERFITTING)
def test_each_recipe_overfits_one_batch(phantoms: Path, tmp_path: Path, case: Case) -> None:
    task, network, width, height, steps, share = case
    recipe = tiny(recipes_for(task, network)[0], draws=6, width=width, height=height, learning_rate=1e-3)
    run = Run(recipe, phantoms, tmp_path, "cpu", epochs=steps)
    kept = [recipe.keep(example) for example in recipe.read(phantoms)[:6]]
    batch = recipe.collate([recipe.sample(one, np.random.default_rng(0), augment=False) for one in kept])
    run.net.train()
    losses = [run.step(batch) for _ in range(steps)]
    assert losses[-1] < share * max(losses)
    assert all(0.0 <= value <= 1.0 for value in run.validate(kept).values() if not np.isnan(value))


TINY_PLANES = tiny(PlanesRecipe(), width=64, height=32, draws=12)
INPUT = (f"width: {PlanesRecipe.width}, height: {PlanesRecipe.height}", "width: 64, height: 32")  #: and as it says so


def test_an_interrupted_training_ends_like_one_that_was_not(phantoms: Path, tmp_path: Path) -> None:
    whole = train(TINY_PLANES, phantoms, tmp_path / "whole", "cpu", epochs=2)
    with pytest.MonkeyPatch.context() as stop:
        stop.setattr(Run, "one_epoch", interrupted(Run.one_epoch))
        with pytest.raises(KeyboardInterrupt):
            train(TINY_PLANES, phantoms, tmp_path / "halves", "cpu", epochs=2)
    halves = train(TINY_PLANES, phantoms, tmp_path / "halves", "cpu", epochs=2)
    one, two = (torch.load(path, weights_only=True) for path in (whole, halves))
    assert one["epoch"] == two["epoch"] == 2
    for row, other in zip(one["history"], two["history"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    with (tmp_path / "halves" / "epochs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1.0", "2.0"]
    assert (tmp_path / "halves" / "curves.png").read_bytes().startswith(b"\x89PNG")


CHAIN = tiny(TINY_PLANES, before=TINY_PLANES, seed=8)


def test_a_recipe_starts_from_the_averaged_weights_of_the_one_before_it(phantoms: Path, tmp_path: Path) -> None:
    standing = tiny(TINY_PLANES, before=TINY_PLANES, learning_rate=0.0, width=96, height=64)
    last = train(standing, phantoms, tmp_path, "cpu", epochs=1)
    first = torch.load(tmp_path / "before" / "checkpoint.pt", weights_only=True)
    end = torch.load(last, weights_only=True)
    for name, _ in PlanesNet().named_parameters():
        assert torch.equal(averaged(first)[name], averaged(end)[name])
    assert [row["epoch"] for row in end["history"]] == [1.0, 2.0]
    assert end["history"][0]["loss"] == first["history"][0]["loss"]


def test_a_chain_that_was_interrupted_twice_ends_like_one_that_was_not(phantoms: Path, tmp_path: Path) -> None:
    whole = train(CHAIN, phantoms, tmp_path / "whole", "cpu", epochs=2)
    for dies_in in ("before", "parts"):
        with pytest.MonkeyPatch.context() as stop:
            stop.setattr(Run, "one_epoch", interrupted(Run.one_epoch, dies_in))
            with pytest.raises(KeyboardInterrupt):
                train(CHAIN, phantoms, tmp_path / "parts", "cpu", epochs=2)
    shutil.rmtree(tmp_path / "parts" / "before")  # what was begun needs it no more
    parts = train(CHAIN, phantoms, tmp_path / "parts", "cpu", epochs=2)
    assert not (tmp_path / "parts" / "before").exists()
    one, two = (torch.load(path, weights_only=True) for path in (whole, parts))
    assert [row["epoch"] for row in two["history"]] == [1.0, 2.0, 3.0, 4.0]
    for row, other in zip(one["history"], two["history"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)


@pytest.mark.parametrize(
    "other",
    [tiny(TINY_PLANES, seed=8), tiny(TINY_PLANES, before=TINY_PLANES), tiny(TINY_PLANES, in_halves=True)],
    ids=["another seed", "a course before it", "another precision"],
)
def test_a_foreign_checkpoint_is_refused_before_anything_is_trained(
    phantoms: Path, tmp_path: Path, other: Recipe[Any]
) -> None:
    train(TINY_PLANES, phantoms, tmp_path, "cpu", epochs=1)
    with pytest.raises(BadInput, match="another recipe"):
        train(other, phantoms, tmp_path, "cpu", epochs=1)
    assert not (tmp_path / "before").exists()


def test_a_steady_recipe_keeps_its_rate_and_averages_evenly_what_came_after_settling(
    phantoms: Path, tmp_path: Path
) -> None:
    recipe = tiny(TINY_PLANES, steady=True)
    run = Run(recipe, phantoms, tmp_path, "cpu", epochs=7)  # 14 steps, of which two settle
    kept = [recipe.keep(example) for example in recipe.read(phantoms)[:6]]
    batch = recipe.collate([recipe.sample(one, np.random.default_rng(0), augment=False) for one in kept])
    weights, rates = [], []
    for _ in range(run.steps):
        run.step(batch)
        weights.append(next(run.net.parameters()).detach().clone())
        rates.append(run.optimiser.param_groups[0]["lr"])
    assert rates[1:] == [recipe.learning_rate] * 13
    expected = torch.stack(weights[2:]).mean(dim=0)
    assert torch.allclose(next(run.average.module.parameters()), expected, atol=1e-6)
    assert not torch.allclose(expected, weights[-1], atol=1e-6)


def test_a_training_that_died_after_its_checkpoint_still_tells_every_epoch(phantoms: Path, tmp_path: Path) -> None:
    train(TINY_PLANES, phantoms, tmp_path, "cpu", epochs=1)
    whole = (tmp_path / "epochs.csv").read_text(encoding="utf-8")
    (tmp_path / "epochs.csv").write_text(whole[:9], encoding="utf-8")  # as it was written when it died
    (tmp_path / "curves.png").unlink()
    train(TINY_PLANES, phantoms, tmp_path, "cpu", epochs=1)
    assert (tmp_path / "epochs.csv").read_text(encoding="utf-8") == whole
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.partial"))


def interrupted(one_epoch: Any, folder: str = "") -> Any:
    """Die after the first epoch, of the run in a folder of that name."""

    def first_only(self: Run, *arguments: Any) -> None:
        if self.epoch == 1 and self.out_dir.name.startswith(folder):
            raise KeyboardInterrupt
        one_epoch(self, *arguments)

    return first_only


def test_a_checkpoint_of_another_recipe_is_not_resumed(phantoms: Path, tmp_path: Path) -> None:
    train(TINY_PLANES, phantoms, tmp_path, "cpu", epochs=1)
    with pytest.raises(BadInput, match="for other epochs"):
        train(TINY_PLANES, phantoms, tmp_path, "cpu", epochs=2)


def test_a_run_does_not_go_on_with_other_simulated_pictures(phantoms: Path, tmp_path: Path) -> None:
    older, newer = tmp_path / "edition_1", tmp_path / "edition_2"
    older.symlink_to(phantoms)
    newer.symlink_to(phantoms)
    train(TINY_PLANES, phantoms, tmp_path / "run", "cpu", epochs=1, simulated_dir=older)
    with pytest.raises(BadInput, match="other simulated pictures"):
        train(TINY_PLANES, phantoms, tmp_path / "run", "cpu", epochs=1, simulated_dir=newer)


def test_a_checkpoint_becomes_weights_that_the_task_can_load(phantoms: Path, tmp_path: Path) -> None:
    checkpoint = train(TINY_PLANES, phantoms, tmp_path / "run", "cpu", epochs=1, simulated_dir=phantoms)
    models = tmp_path / "models"
    shutil.copytree(MODELS / "planes", models / "planes")
    card = models / "planes" / "manifest.yaml"
    card.write_text(card.read_text(encoding="utf-8").replace(*INPUT), encoding="utf-8")
    weights = export(TINY_PLANES, checkpoint, models, phantoms)
    manifest = Manifest.read(models / "planes")
    manifest.check_weights()
    assert weights.stat().st_size < 15e6
    load_weights(PlanesNet(), manifest.weights_path("efficientnet_lite0"), "cpu")
    seen = seen_by(manifest.folder)
    assert seen.groups
    assert all(group.partition("/")[2].startswith("sim") for group in seen.groups)
    with pytest.raises(BadInput, match="not of biometry unet"):
        export(recipes_for("biometry")[0], checkpoint, models, phantoms)


def test_simulated_pictures_have_the_share_of_the_recipe(phantoms: Path) -> None:
    recipe = PlanesRecipe()
    examples = recipe.read(phantoms)
    weights = draw_weights(recipe, examples[:10], examples[10:])
    assert weights[:10].sum() == pytest.approx(1.0 - recipe.simulated_share)
    assert weights.sum() == pytest.approx(1.0)
    assert draw_weights(recipe, examples, []).sum() == pytest.approx(1.0)


def test_a_recipe_may_validate_on_simulated_patients_whom_it_then_does_not_train_on(phantoms: Path) -> None:
    (recipe,) = recipes_for("anomalies")
    real, simulated, valid = chosen(recipe, phantoms, phantoms)
    owners = [{example.picture.group for example in part} for part in (simulated, valid)]
    assert all(owners)
    assert not owners[0] & owners[1]
    assert len(simulated) + len(valid) == len(recipe.read(phantoms))
    assert len(real) < len(simulated)
    with pytest.raises(BadInput, match="validates on simulated patients, and there are none"):
        chosen(recipe, phantoms, None)
    planes = chosen(PlanesRecipe(), phantoms, phantoms)
    assert len(planes[1]) == len(PlanesRecipe().read(phantoms))
    assert {example.picture.group for example in planes[0]}.isdisjoint(e.picture.group for e in planes[2])


def test_a_folder_without_a_train_patient_is_refused_with_simulated_pictures_or_without(
    phantoms: Path, tmp_path: Path
) -> None:
    patient = next(name for name in map(str, range(100)) if split_of(f"planes/{name}") == "test")
    (tmp_path / "planes").mkdir()
    rows = f"image,patient,plane,brain_plane\na.jpg,{patient},Fetal femur,\n"
    (tmp_path / "planes" / "labels.csv").write_text(rows, encoding="utf-8")
    for simulated in (phantoms, None):
        with pytest.raises(BadInput, match="no image of the train split for planes; it needs more patients"):
            chosen(PlanesRecipe(), tmp_path, simulated)


def test_no_recipe_trains_what_is_not_a_task() -> None:
    with pytest.raises(BadInput, match="no recipe trains 'tea'"):
        recipes_for("tea")
    with pytest.raises(BadInput, match="planes has no network 'unet', but efficientnet_lite0"):
        recipes_for("planes", "unet")
