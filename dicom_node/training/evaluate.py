"""What a shipped model reaches on images that it has not seen, through the very code that runs in the node."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from dicom_node.errors import BadInput
from dicom_node.inference.manifest import Manifest
from dicom_node.training.export import Evaluation
from dicom_node.training.measuring import Outcome

SIMULATED_SEED = 99  #: of simulated pictures to measure on; recipes have others


def evaluate(
    task: str, data_dir: Path, models_dir: Path, device: str = "auto", simulated_dir: Path | None = None
) -> dict[str, Any]:
    """Measure a task on a folder laid out like the training data, without any fetus that its weights have seen.

    The report holds each figure as a number under its name (``a.b`` lies in ``a``), and ``figures`` with value, 95 %
    interval (bootstrap by fetus or patient), n and image sets of each. ``data`` says whether the images are real or
    simulated; they are never mixed: with ``simulated_dir`` both are measured, and each has a report of that form under
    its word. What is measured is said by ``measure`` of ``dicom_node.training.evaluations.<task>``.

    :raises BadInput: no such task, or no image that the weights have not seen.
    :raises ModelError: the model cannot be loaded.
    """
    measure = _evaluation_of(task).measure
    manifest = Manifest.read(models_dir / task)
    about = {"task": task, "version": manifest.version, "weights_sha256": manifest.weights_sha256}
    told = _told(measure(data_dir, models_dir, device))
    if simulated_dir is None:
        return {**about, **told}
    if told["data"] == "simulated":
        raise BadInput(f"{data_dir} is simulated: {task} is measured on simulated patients of its own besides")
    return {**about, "real": told, "simulated": _told(measure(simulated_dir, models_dir, device))}


def simulated_for(task: str) -> Mapping[str, int]:
    """Give how many simulated pictures of which set a task is measured on, besides those of the data folder.

    They are ``SIMULATED`` of its evaluation, and are drawn with :data:`SIMULATED_SEED`, which no training uses.

    :raises BadInput: no such task.
    """
    counts: Mapping[str, int] = getattr(_evaluation_of(task), "SIMULATED", {})
    return counts


def evaluations_in(report: Mapping[str, Any], dataset: str) -> list[Evaluation]:
    """Give what a report of :func:`evaluate` holds for a card, where the images of the data folder are ``dataset``.

    Simulated patients that a task was measured on besides came with the command, and are called by their seed.
    """
    command = f"dicom-node evaluate {report['task']} --data"
    if "data" in report:
        folder = "DIR" if report["data"] == "real" else "PHANTOMS"
        return [Evaluation(dataset, f"{command} {folder}", report)]
    besides = f"phantoms of seed {SIMULATED_SEED}"
    return [
        Evaluation(dataset, f"{command} DIR", report["real"]),
        Evaluation(besides, f"{command} DIR", report["simulated"]),
    ]


def _evaluation_of(task: str) -> ModuleType:
    module = f"dicom_node.training.evaluations.{task}"
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BadInput(f"no evaluation measures {task!r}") from error


def _told(outcome: Outcome) -> dict[str, Any]:
    """Give an outcome as plain values, without figures that its images do not define: JSON has no word for them."""
    figures = {name: asdict(found) for name, found in outcome.figures.items() if math.isfinite(found.value)}
    report: dict[str, Any] = {
        "data": outcome.data,
        "figures": figures,
        **outcome.facts,
    }
    for name, found in figures.items():
        place = report
        *path, last = name.split(".")
        for part in path:
            place = place.setdefault(part, {})
        place[last] = found["value"]
    return report
