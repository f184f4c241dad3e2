"""From a checkpoint to a shipped model: weights, their hash, what they have seen, and what they reach."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from dicom_node.errors import BadInput
from dicom_node.inference.manifest import MANIFEST, Manifest, sha256_of
from dicom_node.inference.weights import save_weights
from dicom_node.training.datasets import split_of
from dicom_node.training.loop import averaged
from dicom_node.training.recipe import Recipe
from dicom_node.training.seen import SEEN, seen_lines

TABLE = "| figure | value | 95 % interval | n | data |"  #: the first line of the figures in a model's page


def export(recipe: Recipe[Any], checkpoint: Path, models_dir: Path, data_dir: Path) -> Path:
    """Write a checkpoint's averaged weights in half precision to ``models/<task>`` and their hash to its manifest.

    Each file is written whole or not at all, the manifest last. After a death in between, either the old model can
    still be loaded, or loading says that the weights are not those of the manifest; shipping once more mends that.

    :raises BadInput: the checkpoint is of another network, or sees pictures of another size than the manifest says.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    trained, wanted = (state["config"]["task"], state["config"]["network"]), (recipe.task, recipe.network)
    if trained != wanted:
        raise BadInput(f"{checkpoint} is of {' '.join(trained)}, not of {' '.join(wanted)}")
    folder = models_dir / recipe.task
    manifest = Manifest.read(folder)
    _check_size(manifest, recipe.network, checkpoint, (state["config"]["width"], state["config"]["height"]))
    weights = manifest.weights_path(recipe.network)
    seen = [e.picture for e in recipe.read(data_dir) if split_of(e.picture.group) != "test"]
    save_weights(averaged(state), weights)
    _write_whole(weights.with_suffix(SEEN), seen_lines(seen))
    write_hash(folder, recipe.network)
    return weights


def _check_size(manifest: Manifest, network: str, checkpoint: Path, trained: tuple[int, int]) -> None:
    """See that the node will show a network pictures of the size that it was trained on."""
    entry = manifest.networks.get(network)
    if entry is None:
        raise BadInput(f"{manifest.folder / MANIFEST} has no network {network!r}; write its entry first")
    if entry.input is not None and (said := manifest.input_size(network)) != trained:  # None: it sees no picture
        raise BadInput(
            "{} was trained on {} x {} pixels, but {} says {} x {}; correct its input, or train again".format(
                checkpoint, *trained, manifest.folder / MANIFEST, *said
            )
        )


def write_hash(folder: Path, network: str) -> None:
    """Write the hash of a network's weights to the manifest; everything else in it stays as a person wrote it.

    :raises ModelError: the manifest cannot be used.
    """
    path = folder / MANIFEST
    hashed = sha256_of(Manifest.read(folder).weights_path(network))
    text = path.read_text(encoding="utf-8")
    _write_whole(path, re.sub(rf'(?m)(^  {network}:[^\n]*\n +sha256: )"\w*"', rf'\g<1>"{hashed}"', text))
    Manifest.read(folder).check_weights()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A report of ``evaluate`` on one kind of data, what to call that data, and the command that measures it again."""

    dataset: str
    command: str
    report: Mapping[str, Any]


def record(task: str, models_dir: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write evaluations into the card of a model and, from there, into its page, so that nobody copies a figure.

    :raises BadInput: the page beside the models has no table of figures.
    """
    page = page_of(task, models_dir)
    before, _, after = page.read_text(encoding="utf-8").partition(TABLE)
    _, end, after = after.partition("\n\n")
    table = figures_table(record_metrics(task, models_dir, evaluations))
    _write_whole(page, f"{before}{table}{end[1:]}{after}")


def page_of(task: str, models_dir: Path) -> Path:
    """Give a model's page, which lies in the documentation beside the models.

    :raises BadInput: it is not there, or has no table of figures.
    """
    page = models_dir.parent / "docs" / "models" / f"{task}.md"
    if not page.is_file() or TABLE not in page.read_text(encoding="utf-8"):
        raise BadInput(f"{page} has no table of figures ({TABLE}), into which they could be written")
    return page


def record_metrics(task: str, models_dir: Path, evaluations: Sequence[Evaluation]) -> Manifest:
    """Write evaluations as the manifest's metrics, its last key, real ones first.

    They take the place of all that was measured on their kind of data; what was measured on the other kind stays.
    """
    measured = [
        {
            "name": name,
            "value": round(figure["value"], 4),
            "ci95": [round(end, 4) for end in figure["ci95"]] if figure["ci95"] else None,
            "n": figure["n"],
            "data": _data_of(evaluation.report, name),
            "dataset": f"{figure['images']}, {evaluation.dataset}",
            "command": evaluation.command,
        }
        for evaluation in evaluations
        for name, figure in evaluation.report["figures"].items()
    ]
    kinds, again = {evaluation.report["data"] for evaluation in evaluations}, {(m["name"], m["data"]) for m in measured}
    others = [
        metric.model_dump(mode="json")
        for metric in Manifest.read(models_dir / task).metrics
        if metric.data not in kinds and (metric.name, metric.data) not in again
    ]
    metrics = sorted([*others, *measured], key=lambda metric: metric["data"] != "real")
    path = models_dir / task / MANIFEST
    kept = path.read_text(encoding="utf-8").partition("\nmetrics:")[0]
    written = yaml.safe_dump({"metrics": metrics}, sort_keys=False, width=120, default_flow_style=None)
    _write_whole(path, f"{kept}\n{written}")
    return Manifest.read(models_dir / task)


def _data_of(report: Mapping[str, Any], name: str) -> str:
    """Say on which kind of data a figure was measured: what the innermost part of the report says in which it lies."""
    data, part = report["data"], report
    for inner in name.split(".")[:-1]:
        part = part[inner]
        data = part.get("data", data)
    return str(data)


def figures_table(manifest: Manifest) -> str:
    """Give the manifest's metrics as the table of the model's page."""
    rows = [TABLE, "|---|---|---|---|---|"]
    for metric in manifest.metrics:
        interval = "{:g} to {:g}".format(*metric.ci95) if metric.ci95 else "-"
        source = f"{metric.data}: {metric.dataset}"
        rows.append(f"| `{metric.name}` | {metric.value:g} | {interval} | {metric.n} | {source} |")
    return "\n".join(rows) + "\n"


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
