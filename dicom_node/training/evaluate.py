"""What a shipped model reaches on images that it has not seen, through the very code that runs in the node."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from dicom_node.errors import BadInput
from dicom_node.inference.manifest import Manifest
from dicom_node.training.measuring import Outcome


def evaluate(task: str, data_dir: Path, models_dir: Path, device: str = "auto") -> dict[str, Any]:
    """Measure a task on a folder laid out like the training data, without any fetus that its weights have seen.

    The report holds each figure as a number under its name (``a.b`` lies in ``a``), and ``figures`` with value, 95 %
    interval (bootstrap by fetus or patient), n and image sets of each. ``data`` says whether the images are real or
    simulated; they are never mixed. What is measured is said by ``measure`` of
    ``dicom_node.training.evaluations.<task>``.

    :raises BadInput: no such task, or no image that the weights have not seen.
    :raises ModelError: the model cannot be loaded.
    """
    module = f"dicom_node.training.evaluations.{task}"
    try:
        measure = import_module(module).measure
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BadInput(f"no evaluation measures {task!r}") from error
    manifest = Manifest.read(models_dir / task)
    outcome: Outcome = measure(data_dir, models_dir, device)
    report: dict[str, Any] = {
        "task": task,
        "version": manifest.version,
        "weights_sha256": manifest.weights_sha256,
        "data": outcome.data,
        "figures": {name: asdict(found) for name, found in outcome.figures.items()},
        **outcome.facts,
    }
    for name, found in outcome.figures.items():
        place = report
        *path, last = name.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = found.value
    return report
