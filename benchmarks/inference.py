"""How many frames per second does the cascade look at? The node's way against the plain way, in one run.

    python benchmarks/inference.py                       # simulated pictures, on the processor
    python benchmarks/inference.py --device cuda --repeat 5
    python benchmarks/inference.py --single              # without the half precision that some processors have

The plain way is what one would write first with the same libraries and the same weights: ultralytics' ``predict``
picture by picture, all 215 features of pyradiomics for every box, then each network image by image. The node batches,
freezes its networks (in half precision where the processor has instructions for it), cuts each box out once, keeps
pictures in channels-last order, computes the selected features only, and looks at several batches side by side where
the plain way has all threads work at one picture. Both ways look at the same decoded pictures in turn, so that whatever
else the machine does weighs on both alike; afterwards what they found is compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from dicom_node.domain.finding import (
    Classification,
    Detection,
    Finding,
    HeatMap,
    Measurement,
    NotAssessable,
    Segmentation,
)
from dicom_node.domain.frame import Calibration, Frame, FrameReference, Region
from dicom_node.inference.batching import batches, side_by_side
from dicom_node.inference.device import choose_device, share_out_threads
from dicom_node.inference.letterbox import Letterbox, grey_of
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.registry import load_task
from dicom_node.inference.task import Task
from dicom_node.simulator.phantoms import make_phantom
from dicom_node.tasks.structures import CATEGORIES, Structures
from dicom_node.tasks.structures.deep import crop_of, deep_features
from dicom_node.tasks.structures.detector import PROPOSALS, Answer, Detector, View
from dicom_node.tasks.structures.fusion import Box, Look, best_boxes, overlaps
from dicom_node.tasks.structures.judgement import Judge
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.radiomics import RADIOMIC_NAMES, Grey, head_scale, radiomic_features
from dicom_node.tasks.structures.reading import BoxReader
from dicom_node.tasks.structures.yolo11 import DESCRIPTION

MODELS = Path(__file__).parents[1] / "models"
GATE = "planes"
NAMES = (GATE, "structures", "anomalies", "biometry")
ANATOMIES = ("sagittal_head", "axial_head", "sagittal_head", "abdomen", "sagittal_head", "femur", "thorax", "cervix")
NODE_BATCH = {"cpu": 4, "cuda": 32}  #: what the node takes at once
FREEZING = ("dicom_node.inference.frozen", *(f"dicom_node.tasks.structures.{it}" for it in ("detector", "reading")))
# predict is told to keep what the node averages: it would throw away the proposals that overlap a better one.
KEPT = {"conf": 0.01, "iou": 0.999, "max_det": len(STRUCTURES) * PROPOSALS}
SAME_BOX = 0.8  #: overlap from which two boxes are the same answer: predict draws pictures otherwise into its input
THREADS = torch.get_num_threads()
SAME_OUTLINE = 0.97  #: overlap of two outlines
SAME_HEAT = 0.05  #: mean difference of two heat maps of 0 to 1
LARGEST_PICTURE = (1024, 1280)
SAME_SIZE = 0.01  #: share of a size by which two answers may differ

console = Console()
Way = Callable[[Sequence[Frame]], list[Finding]]


def pictures(count: int) -> list[Frame]:
    """Draw phantoms, calibrated over their whole area."""
    frames = []
    for number in range(count):
        grey = make_phantom(ANATOMIES[number % len(ANATOMIES)], 1000 + number).pixels
        rows, columns = grey.shape
        region = Region(0, 0, columns - 1, rows - 1, 0.1, 0.1)
        reference = FrameReference("1.2.840.10008.5.1.4.1.1.6.1", f"1.2.{number + 1}")
        frames.append(Frame(reference, np.repeat(grey[:, :, None], 3, axis=2), Calibration((region,))))
    return frames


class PlainReader(BoxReader):
    """Computes every feature of every box by itself, and selects afterwards."""

    def _features(self, grey: Sequence[Grey], boxes: Sequence[Mapping[str, Box]]) -> npt.NDArray[np.float64]:
        rows = []
        for picture, found in zip(grey, boxes, strict=True):
            for box in found.values():
                radiomic = radiomic_features(picture, box, RADIOMIC_NAMES, head_scale(found))
                deep = deep_features(self._deep, [crop_of(picture, box, self._crop_px)], self._device)[0]
                rows.append(np.concatenate([radiomic, deep], dtype=np.float64)[self._net.selected.cpu().numpy()])
        return np.stack(rows)


class PlainStructures(Structures):
    """Asks ultralytics' ``predict``, picture by picture, and reads box by box."""

    def __init__(self, manifest: Manifest, device: str) -> None:
        from ultralytics import YOLO  # type: ignore[attr-defined]  # noqa: PLC0415 - only this way needs it

        detector = Detector.load("yolo11", manifest, device)
        judge = Judge(manifest, PlainReader.load(manifest, device)) if CATEGORIES in manifest.networks else None
        super().__init__(manifest, [detector], judge)
        self._device = device
        self._yolo: Any = YOLO(DESCRIPTION, task="detect")
        net: Any = cast("Answer", detector.views[0].net).net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self._yolo.model = net
        net.names = dict(enumerate(STRUCTURES))

    def boxes(self, frames: Sequence[Frame], floor: float) -> list[dict[str, tuple[Box, float]]]:
        """Find each frame's boxes; the answer is of two looks, as the node's is."""
        return [
            best_boxes([self._look(frame, view) for view in self.detectors[0].views], frame.pixels.shape[:2], floor)
            for frame in frames
        ]

    def _look(self, frame: Frame, view: View) -> Look:
        width, height = view.size
        fit = Letterbox.fit(frame.pixels.shape, width, height)
        seen = fit.apply(grey_of(frame.pixels))  # as the network has learned to see; predict would draw it otherwise
        picture = np.repeat((seen[:, ::-1] if view.mirrored else seen)[:, :, None], 3, axis=2)
        settings = {"imgsz": (height, width), **KEPT, "device": self._device, "verbose": False, "save": False}
        (result,) = self._yolo.predict(picture, **settings)
        found = result.boxes
        boxes, scores = np.zeros((len(STRUCTURES), len(found), 4)), np.zeros((len(STRUCTURES), len(found)))
        places = np.arange(len(found))
        kinds = found.cls.int().cpu().numpy()
        boxes[kinds, places], scores[kinds, places] = found.xyxy.cpu().numpy(), found.conf.cpu().numpy()
        if view.mirrored:
            boxes[:, :, [0, 2]] = width - boxes[:, :, [2, 0]]
        corners = fit.to_picture(boxes.reshape(-1, 2)).reshape(boxes.shape)
        return Look(corners, scores)


def cascade(tasks: Mapping[str, Task]) -> Way:
    """Ask the gate about a batch, and then each task about the frames that it accepts."""

    def look(some: Sequence[Frame]) -> list[Finding]:
        answers = tasks[GATE].predict(some)
        findings, gated = list(answers), gate(some, answers)
        for name, task in tasks.items():
            accepted = [frame for frame in gated if task.accepts(frame)] if name != GATE else []
            findings += task.predict(accepted) if accepted else []
        return findings

    return look


def plain_way(look: Way) -> Way:
    """Look picture by picture, with all threads at each."""

    def way(frames: Sequence[Frame]) -> list[Finding]:
        torch.set_num_threads(THREADS)
        return [it for frame in frames for it in look([frame])]

    return way


def node_way(look: Way, batch: int, device: str) -> Way:
    """Look as the node does: at several batches side by side."""

    def way(frames: Sequence[Frame]) -> list[Finding]:
        looks = share_out_threads(device)
        return [it for _, found in side_by_side(look, batches(frames, batch), looks) for it in found]

    return way


def gate(frames: Sequence[Frame], answers: Sequence[Finding]) -> list[Frame]:
    """Give the frames with the planes that were seen."""
    seen = {it.frames[0]: it for it in answers if isinstance(it, Classification) and it.name == "plane"}
    return [frame.on_plane(seen[frame.reference].value_name, dict(seen[frame.reference].probabilities)[
        seen[frame.reference].value]) for frame in frames]  # fmt: skip


def plain_tasks(device: str) -> dict[str, Task]:
    """Load the tasks with their networks as they were trained, in the usual order of memory."""
    with ExitStack() as as_trained:
        for module in FREEZING:
            as_trained.enter_context(patch(f"{module}.frozen", lambda net, *_device, **_shapes: net))
        tasks = {name: load_task(name, MODELS, device) for name in NAMES if name != "structures"}
        plain = PlainStructures(Manifest.read(MODELS / "structures"), device)
    for task in tasks.values():
        net: nn.Module = task._net  # type: ignore[attr-defined]  # noqa: SLF001 - to undo what loading did to it
        net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return {**tasks, "structures": plain}


def timed(way: Way, frames: Sequence[Frame], device: str) -> tuple[float, list[Finding]]:
    """Give seconds and findings of one go."""
    started = time.perf_counter()
    findings = way(frames)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started, findings


def key(finding: Finding) -> tuple[object, ...]:
    """Name what a finding is about."""
    frame = finding.frames[0] if isinstance(finding, Classification) else finding.frame
    return frame, finding.task, finding.name, type(finding).__name__


def agree(mine: Finding, other: Finding) -> bool:
    """Tell whether two findings about the same say the same."""
    if isinstance(mine, Detection) and isinstance(other, Detection):
        return float(overlaps(np.array(mine.box_xyxy_px), np.array([other.box_xyxy_px]))[0]) >= SAME_BOX
    if isinstance(mine, Classification) and isinstance(other, Classification):
        return mine.value == other.value
    if isinstance(mine, Measurement) and isinstance(other, Measurement):
        return abs(mine.value - other.value) <= SAME_SIZE * other.value
    if isinstance(mine, Segmentation) and isinstance(other, Segmentation):
        one, two = drawn(mine), drawn(other)
        return int(np.count_nonzero(one & two)) >= SAME_OUTLINE * int(np.count_nonzero(one | two))
    if isinstance(mine, HeatMap) and isinstance(other, HeatMap):
        return mine.value == other.value and float(np.abs(np.subtract(mine.values, other.values)).mean()) <= SAME_HEAT
    return isinstance(mine, NotAssessable) and isinstance(other, NotAssessable) and mine.reason == other.reason


def drawn(outline: Segmentation) -> npt.NDArray[np.uint8]:
    """Fill an outline."""
    points = np.round(np.array(outline.contour.points_px)).astype(np.int32)
    return np.asarray(cv2.fillPoly(np.zeros(LARGEST_PICTURE, dtype=np.uint8), [points], 1), dtype=np.uint8)


def agreement(mine: Sequence[Finding], other: Sequence[Finding]) -> tuple[int, int]:
    """Give how many findings both ways have and agree upon, and how many at least one of them has."""
    first, second = {key(it): it for it in mine}, {key(it): it for it in other}
    same = sum(agree(first[name], second[name]) for name in first.keys() & second.keys())
    return same, len(first.keys() | second.keys())


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--single", action="store_true", help="the node too in single precision, whatever the processor"
    )
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    share_out_threads(device)  # counts them now, before predict leaves one less than there are
    frames = pictures(arguments.frames)
    in_single = patch("dicom_node.inference.frozen.multiplies_halves", lambda _device: False)
    with in_single if arguments.single else nullcontext():
        node = {name: load_task(name, MODELS, device) for name in NAMES}
    plain = plain_tasks(device)
    size = NODE_BATCH[device.split(":")[0]]
    gated = gate(frames, node[GATE].predict(frames))
    table = Table(
        "what", "frames", "plain, per s", "node, per s", "ratio", "findings alike", title=f"Inference on {device}"
    )
    for what in ("the cascade", *NAMES):
        alone = None if what == "the cascade" else what
        shown = [frame for frame in gated if node[alone].accepts(frame)] if alone else frames
        looks = (plain[alone].predict, node[alone].predict) if alone else (cascade(plain), cascade(node))
        ways = (plain_way(looks[0]), node_way(looks[1], size, device))
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(arguments.repeat + 1):
            (first, found), (second, mine) = (timed(way, shown, device) for way in ways)
            if turn:  # the first go warms both up
                seconds[0].append(first)
                seconds[1].append(second)
        same, all_of_them = agreement(mine, found)
        before, now = (statistics.median(each) for each in seconds)
        table.add_row(what, str(len(shown)), f"{len(shown) / before:.1f}", f"{len(shown) / now:.1f}",
                      f"{before / now:.2f}x", f"{same} of {all_of_them}")  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
