"""From a task's name to its loaded model."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from dicom_node.errors import ModelError
from dicom_node.inference.device import choose_device
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.task import Task


def load_task(name: str, models_dir: Path, device: str = "auto", **options: object) -> Task:
    """Load a task: its manifest, its weights (checked by SHA-256) and its module ``dicom_node.tasks.<name>``.

    The module's place follows from the name, and is never read from the manifest. ``options`` are the task's own.

    :raises ModelError: no such task, or its manifest or weights cannot be used.
    """
    manifest = Manifest.read(models_dir / name)
    manifest.check_weights()
    package = f"dicom_node.tasks.{manifest.name}"
    try:
        module = import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(f"{manifest.folder} has no task: there is no module {package}") from error
    task: Task = module.load(manifest, choose_device(device), **options)
    return task
