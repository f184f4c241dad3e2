"""The recipe of biometry and its evaluation: what is learned from which label, and what is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.domain.frame import Calibration, Frame, FrameReference
from dicom_node.tasks.biometry.geometry import Ellipse, coverage
from dicom_node.training.datasets import BiometryExample, Picture, read_biometry, split_of
from dicom_node.training.evaluations.biometry import CUT, cut, unsuitable
from dicom_node.training.recipes.biometry import BiometryRecipe, KeptShape, semi_axes, sure_edge

HEAD = Ellipse.of((150.0, 100.0), 80.0, 60.0, 30.0)


def example(dataset: str, region: str, *, simulated: bool = False) -> BiometryExample:
    return BiometryExample(Picture(Path("x.jpg"), f"{dataset}/1", simulated), region, HEAD, 0.1, 1.0)


def test_semi_axes_are_those_of_the_ellipse() -> None:
    covered = coverage(HEAD.outline(256), 300, 200)
    turned = coverage(Ellipse.of((100.0, 90.0), 70.0, 40.0, 120.0).outline(256), 300, 200)
    found = semi_axes(torch.from_numpy(np.stack([covered, turned])))
    assert found.numpy() == pytest.approx(np.array([[80.0, 60.0], [70.0, 40.0]]), rel=0.01)


def test_nothing_has_a_small_size_and_a_slope() -> None:
    nothing = torch.zeros((1, 20, 30), requires_grad=True)
    semi_axes(nothing).log().sum().backward()  # type: ignore[no-untyped-call]
    assert nothing.grad is not None
    assert torch.isfinite(nothing.grad).all()


def test_only_the_heads_of_the_landmarks_have_an_unsure_edge() -> None:
    assert not sure_edge(example("planes", "head"))
    assert sure_edge(example("planes", "abdomen"))
    assert sure_edge(example("planes", "head", simulated=True))
    assert sure_edge(example("head_circumference", "head"))


def test_an_unsure_edge_is_not_learned_but_the_inside_and_the_outside_are(phantoms: Path) -> None:
    recipe = BiometryRecipe()
    shown = next(e for e in read_biometry(phantoms) if e.region == "head")
    kept: KeptShape = recipe.keep(shown)
    sure = recipe.sample(kept, np.random.default_rng(0), augment=False)
    unsure = recipe.sample(replace(kept, sure_edge=False), np.random.default_rng(0), augment=False)
    assert sure["known"].all()
    ring = unsure["known"] == 0
    mask = unsure["masks"][0]
    assert ring[(mask > 0.1) & (mask < 0.9)].all()  # the edge itself
    assert 0.05 < ring.sum() / mask.sum() < 0.35
    assert set(np.unique(mask[~ring])) <= {0.0, 1.0}


def test_the_loss_does_not_ask_for_an_edge_that_nobody_knows(phantoms: Path) -> None:
    recipe = BiometryRecipe()
    kept = recipe.keep(next(e for e in read_biometry(phantoms) if e.region == "head"))
    batch = recipe.collate([recipe.sample(replace(kept, sure_edge=False), np.random.default_rng(0), augment=False)])

    class Answer(torch.nn.Module):
        def __init__(self, masks: torch.Tensor) -> None:
            super().__init__()
            self.masks = masks

        def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.masks, torch.zeros((len(grey), 3))

    true = (batch["masks"] - 0.5) * 20
    other = torch.where(batch["known"][:, None].bool(), true, -true)
    assert recipe.loss(Answer(true), batch).item() == pytest.approx(recipe.loss(Answer(other), batch).item(), abs=1e-4)


def test_a_picture_is_cut_through_the_head() -> None:
    pixels = np.arange(200 * 300, dtype=np.uint32).reshape(200, 300, 1).repeat(3, axis=2).astype(np.uint8)
    upright = Ellipse.of((150.0, 100.0), 80.0, 60.0, 0.0)
    part = cut(Frame(FrameReference("1", "2"), pixels, Calibration(reason="none")), upright)
    left = round(70.0 + CUT * 160.0)
    assert part.pixels.shape == (200, 300 - left, 3)
    assert (part.pixels == pixels[:, left:]).all()


def test_of_a_folder_that_was_learned_from_only_the_test_split_is_to_be_refused(tmp_path: Path) -> None:
    patients = [str(number) for number in range(60)]
    rows = "".join(f"{patient}.jpg,{patient},Other,\n{patient}b.jpg,{patient},Fetal femur,\n" for patient in patients)
    (tmp_path / "planes").mkdir()
    (tmp_path / "planes" / "labels.csv").write_text(f"image,patient,plane,brain_plane\n{rows}", encoding="utf-8")
    model = tmp_path / "biometry"
    model.mkdir()

    def refused_after(*seen: str) -> set[str]:
        (model / "unet.seen.txt").write_text("".join(f"{group}\n" for group in seen), encoding="utf-8")
        return {example.picture.path.stem for example in unsuitable(tmp_path, model)}

    of_test = {patient for patient in patients if split_of(f"planes/{patient}") == "test"}
    learned = next(patient for patient in patients if patient not in of_test)
    assert 0 < len(of_test) < 30
    assert refused_after("planes/elsewhere") == set(patients)
    assert refused_after(f"planes/{learned}") == of_test
    assert refused_after(f"planes/{learned}", f"planes/{min(of_test)}") == of_test - {min(of_test)}
