from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dicom_node.errors import ModelError
from dicom_node.inference.device import choose_device
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.registry import load_task

MODELS = Path(__file__).parents[3] / "models"


def test_a_task_that_does_not_exist_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_task("nothing", tmp_path)


def test_a_manifest_without_a_module_is_a_model_error(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "planes", tmp_path / "orphan")
    manifest = folder / "manifest.yaml"
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace("name: planes", "name: orphan", 1), encoding="utf-8"
    )
    with pytest.raises(ModelError, match=r"no module dicom_node\.tasks\.orphan"):
        load_task("orphan", tmp_path, "cpu")


def test_weights_with_one_byte_changed_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "planes", tmp_path / "planes")
    weights = Manifest.read(folder).weights_path("efficientnet_lite0")
    numbers = bytearray(weights.read_bytes())
    numbers[-1] ^= 1
    weights.write_bytes(numbers)
    with pytest.raises(ModelError, match="SHA-256"):
        load_task("planes", tmp_path, "cpu")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "planes", tmp_path / "planes")
    other = Manifest.read(MODELS / "biometry")
    shutil.copy(other.weights_path("unet"), folder / "efficientnet_lite0.safetensors")
    manifest = folder / "manifest.yaml"
    own = Manifest.read(folder).weights_sha256
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(own, other.weights_sha256), encoding="utf-8")
    with pytest.raises(ModelError, match="does not fit its network"):
        load_task("planes", tmp_path, "cpu")


def test_importing_every_task_leaves_torch_alone() -> None:
    code = (
        "import sys, dicom_node.inference.registry, dicom_node.inference.device;"
        "import dicom_node.tasks.planes, dicom_node.tasks.structures, dicom_node.tasks.biometry;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ultralytics', 'segmentation_models_pytorch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_gpu_that_is_not_there_is_not_silently_replaced() -> None:
    assert choose_device("cpu") == "cpu"
    if torch.cuda.is_available():
        assert choose_device("auto") == "cuda"
    else:
        assert choose_device("auto") == "cpu"
        with pytest.raises(ModelError, match="no usable GPU"):
            choose_device("cuda")
