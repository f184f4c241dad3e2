from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.domain.concept import Concept
from dicom_node.errors import ModelError
from dicom_node.inference.manifest import Manifest, sha256_of

HEAD = {"value": "69536005", "scheme": "SCT", "meaning": "Head"}


def card(**changes: Any) -> dict[str, Any]:
    return {
        "name": "heads",
        "version": "1.2.3",
        "title": "Heads",
        "intended_use": "tests",
        "not_for": "anything else",
        "licence": "none",
        "networks": {"unet": {"sha256": "a" * 64, "input": {"width": 64, "height": 32, "channels": 1}}},
        "outputs": [{"name": "head", "kind": "segmentation", "concept": HEAD}],
        "training_data": "none",
        "split_seed": 1,
        "metrics": [],
        **changes,
    }


def written(tmp_path: Path, content: dict[str, Any]) -> Path:
    folder = tmp_path / "heads"
    folder.mkdir()
    (folder / "manifest.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def test_a_manifest_is_read_with_its_codes(tmp_path: Path) -> None:
    manifest = Manifest.read(written(tmp_path, card()))
    assert manifest.output("head").concept == Concept("69536005", "SCT", "Head")
    assert manifest.algorithm().version == "1.2.3"
    assert manifest.algorithm().weights_sha256 == "a" * 64
    assert manifest.input_size("unet") == (64, 32)


def test_several_networks_have_one_hash_that_follows_each(tmp_path: Path) -> None:
    networks = {"swin": {"sha256": "a" * 64}, "yolo11": {"sha256": "b" * 64}}
    folder = written(tmp_path, card(networks=networks))
    both = Manifest.read(folder).weights_sha256
    assert both == hashlib.sha256(f"{'a' * 64}\n{'b' * 64}".encode()).hexdigest()
    with pytest.raises(ModelError, match="no input for a network 'swin'"):
        Manifest.read(folder).input_size("swin")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colour": "blue"}, "colour: unknown key"),
        ({"networks": {"unet": {"sha256": "a" * 64, "url": "x"}}}, "networks.unet.url: unknown key"),
        ({"networks": {"../unet": {"sha256": "a" * 64}}}, "networks"),
        ({"networks": {"unet": {"sha256": "a" * 63}}}, "networks.unet.sha256"),
        ({"networks": {}}, "networks"),
        ({"outputs": [{"name": "x", "kind": "segmentation", "concept": {"value": "1"}}]}, "outputs.0.concept"),
        ({"outputs": [{"name": "x", "kind": "guess", "concept": HEAD}]}, "outputs.0.kind"),
        ({"folder": "/elsewhere"}, "folder: unknown key"),
        ({"name": "tails"}, "name: tails"),
        ({"version": None}, "version"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_key_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        Manifest.read(written(tmp_path, card(**changes)))


def test_a_metric_needs_the_data_it_was_measured_on(tmp_path: Path) -> None:
    metric = {"name": "top1", "value": 0.9, "ci95": None, "n": 3, "dataset": "x", "command": "y"}
    with pytest.raises(ModelError, match=r"metrics\.0\.data"):
        Manifest.read(written(tmp_path, card(metrics=[metric])))


def test_a_folder_without_manifest_and_one_that_is_not_yaml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Manifest.read(tmp_path / "nothing")
    (tmp_path / "manifest.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ModelError, match="not YAML"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.yaml").write_text("just words", encoding="utf-8")
    with pytest.raises(ModelError, match="not a table"):
        Manifest.read(tmp_path)


def test_weights_are_compared_with_their_hash(tmp_path: Path) -> None:
    folder = written(tmp_path, card())
    with pytest.raises(ModelError, match="cannot be read"):
        Manifest.read(folder).check_weights()
    weights = folder / "unet.safetensors"
    weights.write_bytes(b"numbers")
    with pytest.raises(ModelError, match=r"has SHA-256 [0-9a-f]{64}, its manifest says a{64}"):
        Manifest.read(folder).check_weights()
    right = card(networks={"unet": {"sha256": sha256_of(weights)}})
    (folder / "manifest.yaml").write_text(yaml.safe_dump(right), encoding="utf-8")
    Manifest.read(folder).check_weights()


def test_an_output_or_value_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    manifest = Manifest.read(written(tmp_path, card()))
    with pytest.raises(ModelError, match="'tail'"):
        manifest.output("tail")
    with pytest.raises(ModelError, match="'blue'"):
        manifest.output("head").value("blue")
