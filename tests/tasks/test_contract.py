"""What every model owes: module, manifest, weights, recipe, page, baseline, and codes that mean what they say."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from pydicom.sr._concepts_dict import concepts as known_concepts

from dicom_node.domain.concept import Concept
from dicom_node.domain.frame import Calibration, Frame, FrameReference
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.registry import load_task
from dicom_node.training.datasets import SPLIT_SEED
from dicom_node.training.export import figures_table
from dicom_node.training.recipe import recipes_for

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
NAMES = sorted(path.parent.name for path in MODELS.glob("*/manifest.yaml"))
LARGEST_BYTES, LARGEST_TOGETHER = 45_000_000, 150_000_000


def python_names(folder: Path) -> set[str]:
    """Name the modules and packages of a folder."""
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return modules - {"__init__"}


def spoken(manifest: Manifest) -> list[Concept]:
    """List every concept of a manifest."""
    values = [value for output in manifest.outputs for value in output.values]
    return [c for entry in (*manifest.outputs, *values) for c in (entry.concept, entry.site) if c is not None]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("models", {path.name for path in MODELS.iterdir() if path.is_dir()}),
        ("tasks", python_names(ROOT / "dicom_node" / "tasks")),
        ("recipes", python_names(ROOT / "dicom_node" / "training" / "recipes")),
        ("pages", {path.stem for path in (ROOT / "docs" / "models").glob("*.md")} - {"README"}),
        (
            "baselines",
            {path.stem.partition("-")[0] for path in (ROOT / "tests" / "tasks" / "baselines").glob("*.json")},
        ),
    ],
)
def test_every_task_has_everything_and_nothing_is_left_over(place: str, found: set[str]) -> None:
    assert NAMES
    assert found == set(NAMES), place


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_those_of_the_manifest_and_small(name: str) -> None:
    manifest = Manifest.read(MODELS / name)
    manifest.check_weights()
    assert all(manifest.weights_path(network).stat().st_size < LARGEST_BYTES for network in manifest.networks)
    there = {path.stem for path in manifest.folder.glob("*.safetensors")}
    assert there == set(manifest.networks)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_of_what_the_recipes_train(name: str) -> None:
    manifest = Manifest.read(MODELS / name)
    recipes = {recipe.network: recipe for recipe in recipes_for(name)}
    assert set(recipes) == set(manifest.networks)
    assert manifest.split_seed == SPLIT_SEED
    for network, recipe in recipes.items():
        sees = network if manifest.networks[network].input else "efficientnet_b4"  # of whose features it is made
        assert (recipe.width, recipe.height) == manifest.input_size(sees), network


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*.safetensors")) < LARGEST_TOGETHER


def test_codes_mean_what_the_standard_says() -> None:
    meanings: dict[tuple[str, str], set[str]] = {}
    for scheme, keywords in known_concepts.items():
        for codes in keywords.values():
            for value, (meaning, _) in codes.items():
                meanings.setdefault((scheme, value), set()).add(meaning.casefold())
    compared = set()
    said = [(task, concept) for task in NAMES for concept in spoken(Manifest.read(MODELS / task))]
    for task, concept in said:
        assert len(concept.value) <= 16  # SH, PS3.5 section 6.2
        assert len(concept.meaning) <= 64  # LO
        if (concept.scheme, concept.value) in meanings:
            assert concept.meaning.casefold() in meanings[concept.scheme, concept.value]
            compared.add(task)
        else:
            # In the standard's newer editions or SNOMED itself, but not in pydicom's tables; or ours.
            assert concept.scheme == "99FETALAI" or (concept.scheme, concept.value) in {
                ("DCM", "131377"),
                ("SCT", "72914001"),
                *(("SCT", code) for code in ("282332003", "89369001", "55999004", "30915001")),  # of HL7 value sets
            }
    assert compared >= {"planes", "structures", "biometry"}


@pytest.mark.parametrize("name", NAMES)
def test_one_code_has_one_meaning(name: str) -> None:
    met: dict[Concept, str] = {}
    for concept in spoken(Manifest.read(MODELS / name)):
        assert met.setdefault(concept, concept.meaning) == concept.meaning


@pytest.mark.parametrize("name", NAMES)
def test_a_card_has_figures_and_their_page_tells_the_same(name: str) -> None:
    manifest = Manifest.read(MODELS / name)
    assert any(metric.data == "real" for metric in manifest.metrics)
    page = (ROOT / "docs" / "models" / f"{name}.md").read_text(encoding="utf-8")
    assert manifest.version in page
    assert "must not be used" in page
    assert figures_table(manifest) in page


@pytest.mark.parametrize("name", NAMES)
def test_a_task_module_is_imported_without_torch(name: str) -> None:
    source = next((ROOT / "dicom_node" / "tasks").glob(f"{name}*/__init__.py"))
    for node in ast.parse(source.read_text(encoding="utf-8")).body:  # the module's own statements, not its functions'
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not {"torch", "ultralytics", "segmentation_models_pytorch"} & set(names)
        assert not (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch")


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_task_never_stays_silent(name: str) -> None:
    task = load_task(name, MODELS, "cpu")
    assert task.name == name
    for number, shape in enumerate(((480, 640), (31, 17), (1, 1))):
        black = Frame(FrameReference("1.2", f"1.{number}"), np.zeros((*shape, 3), np.uint8), Calibration(reason="none"))
        planes = ("brain", "abdomen", "femur", "midsagittal_head")
        accepted = [frame for plane in planes if task.accepts(frame := black.on_plane(plane, 1.0))]
        assert accepted
        assert len(task.predict(accepted)) >= len(accepted)
    assert task.predict([]) == []
