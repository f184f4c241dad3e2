"""The recipes of the features and of the categories: they learn, and each learns only from what it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicom_node.errors import BadInput
from dicom_node.tasks.structures.categories import FEATURES, MODES
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.training.datasets import HeadExample, Picture, read_heads
from dicom_node.training.loop import Run
from dicom_node.training.recipes.structures.categories import CategoriesRecipe, frame_logits
from dicom_node.training.recipes.structures.efficientnet_b4 import CropRecipe
from dicom_node.training.selection import Selection


class SmallCrops(CropRecipe):
    width = 32
    height = 32
    draws = 6
    batch_size = 6


@pytest.mark.slow
def test_crops_learn_their_structures(phantoms: Path, tmp_path: Path) -> None:
    recipe = SmallCrops()
    recipe._tables[phantoms] = phantoms / "head_structures" / "boxes.csv"
    heads = recipe.read(phantoms)
    assert all(head.standard is None for head in heads)  # nobody judged a simulated plane
    run = Run(recipe, phantoms, tmp_path, "cpu", epochs=14)
    batch = recipe.collate(
        [recipe.sample(recipe.keep(head), np.random.default_rng(1), augment=False) for head in heads[:6]]
    )
    run.net.train()
    losses = [run.step(batch) for _ in range(14)]
    assert losses[-1] < 0.6 * max(losses)


def test_both_recipes_build_on_shipped_models(tmp_path: Path) -> None:
    for recipe in (CropRecipe(), CategoriesRecipe()):
        with pytest.raises(BadInput, match="no models are given"):
            recipe.prepare(tmp_path, None, tmp_path, None, "cpu")


PLACE = Path("heads")


def head(number: int, *, standard: bool | None, categories: dict[str, str]) -> HeadExample:
    boxes = dict.fromkeys(("thalami", "nasal_bone"), (0.0, 0.0, 9.0, 9.0))
    picture = Picture(PLACE / "head_structures" / "images" / f"{number}.jpg", f"head_structures/{number}", False)
    return HeadExample(picture, boxes, standard, categories)


@pytest.fixture
def prepared() -> tuple[CategoriesRecipe, list[HeadExample]]:
    """A recipe with features in memory: the first says whether a plane is standard, the last the category."""

    class Small(CategoriesRecipe):
        batch_size = 16
        learning_rate = 1e-2

    recipe, rng = Small(), np.random.default_rng(0)
    selected = np.zeros(FEATURES, dtype=bool)
    selected[[3, 9, 300, 301]] = True
    structures = np.array([STRUCTURES.index(name) for name in ("thalami", "nasal_bone")])
    recipe._selection = Selection(selected, np.zeros((9, 4)), np.ones((9, 4)), [])
    recipe._tables[PLACE] = PLACE
    heads = []
    for number in range(16):
        standard, kind = number % 2 == 0, number % 3
        known = number < 12
        categories = {} if known else {"thalami": ("normal", "borderline", "abnormal")[kind]}
        heads.append(head(number, standard=standard if known else None, categories=categories))
        values = rng.normal(0, 0.1, (2, 4))
        values[:, 0] += 2.0 * standard
        values[:, 3] += 2.0 * kind
        recipe._features[PLACE / f"{number}.jpg"] = (structures, values)
    return recipe, heads


def test_the_three_networks_overfit_one_batch(
    prepared: tuple[CategoriesRecipe, list[HeadExample]], tmp_path: Path
) -> None:
    recipe, heads = prepared
    run = Run(recipe, PLACE, tmp_path, "cpu", epochs=40)
    kept = [recipe.keep(one) for one in heads]
    batch = recipe.collate([recipe.sample(one, np.random.default_rng(0), augment=False) for one in kept])
    run.net.train()
    losses = [run.step(batch) for _ in range(40)]
    assert losses[-1] < 0.4 * losses[0]
    with torch.inference_mode():
        figures = recipe.score(run.net.eval(), [batch])
    assert figures["fused_auc"] == figures["radiomic_only_auc"] == 1.0
    # What was selected is neither trained nor averaged away.
    assert torch.equal(run.average.module.selected, torch.from_numpy(recipe.selection.selected))


def test_what_is_unknown_teaches_nothing(prepared: tuple[CategoriesRecipe, list[HeadExample]]) -> None:
    recipe, heads = prepared
    torch.manual_seed(0)
    net = recipe.net(PLACE).eval()
    judged, simulated = recipe.keep(heads[0]), recipe.keep(heads[13])

    def loss(*kept: Any) -> float:
        rng = np.random.default_rng(0)
        return recipe.loss(net, recipe.collate([recipe.sample(one, rng, augment=False) for one in kept])).item()

    assert loss(judged, simulated) == pytest.approx(loss(judged) + loss(simulated), rel=1e-5)
    assert (simulated.standard, judged.categories.max()) == (-1, -1)


def test_a_frame_is_the_mean_of_its_boxes() -> None:
    found = frame_logits(torch.tensor([1.0, 3.0, -2.0]), torch.tensor([0, 0, 2]), 3)
    assert found.tolist() == [2.0, 0.0, -2.0]
    assert set(MODES) == {"fused", "radiomic_only", "deep_only"}


def test_heads_are_read_with_their_plane_and_categories(tmp_path: Path) -> None:
    folder = tmp_path / "head_structures"
    folder.mkdir()
    (folder / "planes.csv").write_text(
        "image,width,height,standard_plane,subset\n1.jpg,9,9,1,\n2.jpg,9,9,0,\n3.jpg,9,9,0,\nsim4.jpg,9,9,1,\n"
    )
    (folder / "categories.csv").write_text("image,structure,category\nsim4.jpg,palate,borderline\n")
    rows = [f"{name}.jpg,palate,1,2,3,4\n" for name in ("1", "2", "sim4")]
    (folder / "boxes.csv").write_text("".join(["image,structure,x_min,y_min,x_max,y_max\n", *rows]))
    heads = read_heads(tmp_path, folder / "boxes.csv")
    assert [(one.picture.path.stem, one.standard, dict(one.categories)) for one in heads] == [
        ("1", True, {}),
        ("2", False, {}),
        ("sim4", None, {"palate": "borderline"}),
    ]
