"""The detectors: what they are taught with, where the anatomy comes from, and what of a batch each is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicom_node.inference.weights import save_weights
from dicom_node.tasks.structures.anatomy import PLACES
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.swin import SwinDetector
from dicom_node.tasks.structures.yolo11 import backbone, build_yolo11, neck_and_head
from dicom_node.training.anatomy import learned_places
from dicom_node.training.datasets import read_structures, split_of
from dicom_node.training.loop import chosen
from dicom_node.training.recipe import of_split
from dicom_node.training.recipes.structures.swin import SwinRecipe


class SmallSwin(SwinRecipe):
    """On small pictures."""

    width = 128
    height = 96


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with an untrained yolo11."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "structures").mkdir()
    torch.manual_seed(1)
    save_weights(build_yolo11().state_dict(), folder / "structures" / "yolo11.safetensors")
    return folder


@pytest.fixture
def taught(teacher: Path, tmp_path: Path) -> SmallSwin:
    recipe = SmallSwin()
    recipe.prepare(tmp_path, None, tmp_path, teacher, "cpu")
    return recipe


def samples(recipe: SwinRecipe, folder: Path, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [recipe.sample(recipe.keep(example), rng, augment=False) for example in recipe.read(folder)[:count]]


def test_backbone_then_neck_and_head_are_the_whole_network() -> None:
    torch.manual_seed(0)
    net = build_yolo11().eval()
    pictures = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(net(pictures)[0], neck_and_head(net, backbone(net, pictures))[0])


def test_swin_takes_any_size_and_answers_like_yolo11() -> None:
    net = SwinDetector().eval()
    with torch.inference_mode():
        for height, width in ((96, 128), (64, 160)):
            places = height * width // 64 + height * width // 256 + height * width // 1024
            assert net(torch.rand(1, 3, height, width))[0].shape == (1, 4 + len(STRUCTURES), places)


def test_swin_learns_from_every_head_but_those_of_the_test_split(data_dir: Path) -> None:
    examples, simulated, valid = chosen(SwinRecipe(), data_dir, None)
    assert len(examples) == 847 + 250  # with boxes, and without
    assert not simulated
    assert {split_of(example.picture.group) for example in examples} == {"train"}
    assert {split_of(example.picture.group) for example in valid} == {"valid"}


def test_what_the_teacher_gave_stays_and_the_rest_learns(taught: SmallSwin, phantoms: Path) -> None:
    torch.manual_seed(0)
    net: Any = taught.net(phantoms)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    taught.loss(net, taught.collate(samples(taught, phantoms, 4))).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    changed = {
        name.partition(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"swin", "laterals"}


def test_the_more_the_maps_are_the_teachers_the_less_is_the_loss(taught: SmallSwin, phantoms: Path) -> None:
    batch = taught.collate([{**sample, "known": False} for sample in samples(taught, phantoms, 4)])
    run: Any = taught.net(phantoms)
    optimiser = torch.optim.AdamW([p for p in run.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(12):
        loss = taught.loss(run.train(), batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_a_picture_without_boxes_changes_nothing_of_the_detection_loss(phantoms: Path) -> None:
    recipe = SmallSwin()
    torch.manual_seed(0)
    net: Any = recipe.net(phantoms)
    known = [sample for sample in samples(recipe, phantoms, 8) if sample["known"]][:2]
    unknown = {**known[0], "boxes": known[0]["boxes"][:0], "structures": known[0]["structures"][:0], "known": False}
    net.train()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eval()
    batches = (known, [unknown, known[0], unknown, known[1]])
    alone, between = (recipe.loss(net, recipe.collate(batch)).item() for batch in batches)
    assert between == pytest.approx(alone, rel=1e-4)


@pytest.mark.data
def test_the_places_are_those_of_the_train_split(data_dir: Path) -> None:
    examples = read_structures(data_dir)
    assert learned_places(of_split(examples, "train")) == PLACES
