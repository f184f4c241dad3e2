"""Readings of boxes as findings: the plane's quality, and each structure's category, with what it was learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dicom_node.domain.finding import Classification, Finding, NotAssessable
from dicom_node.domain.frame import Frame
from dicom_node.errors import ModelError
from dicom_node.inference.manifest import Manifest, Output
from dicom_node.tasks.structures.categories import CATEGORIES
from dicom_node.tasks.structures.radiomics import Box
from dicom_node.tasks.structures.reading import BoxReader, Reading

TASK = "structures"
PLANE_QUALITY, CATEGORY = "plane_quality", "category"
QUALITIES = ("standard", "non_standard")
NORMALITY = "normality_of_structures"  #: what is not answered where the plane is not a standard one
CATEGORY_FLOOR = 0.5  #: below this probability no category is named
LEARNED_FROM = {
    PLANE_QUALITY: "learned from real images of one hospital",
    CATEGORY: "learned from simulated changes only and never tried on patients with that condition",
}
CAVEAT = {PLANE_QUALITY: "", CATEGORY: "learned from simulated images"}


class Judge:
    """Says of every frame with boxes whether its plane is standard and, where it is, of each structure its category."""

    def __init__(self, manifest: Manifest, reader: BoxReader) -> None:
        self._quality, self._category = manifest.output(PLANE_QUALITY), manifest.output(CATEGORY)
        self._detections = {output.name: output for output in manifest.outputs if output.kind == "detection"}
        self.reader = reader

    @classmethod
    def load(cls, manifest: Manifest, device: str) -> Judge:
        """Load the networks.

        :raises ModelError: the manifest's classes or the weights are not those of the networks.
        """
        for name, classes in ((PLANE_QUALITY, QUALITIES), (CATEGORY, CATEGORIES)):
            if tuple(value.name for value in manifest.output(name).values) != classes:
                raise ModelError(f"{manifest.folder}: the values of {name} are not the network's: {classes}")
        return cls(manifest, BoxReader.load(manifest, device))

    def findings(self, frames: Sequence[Frame], boxes: Sequence[Mapping[str, Box]]) -> list[list[Finding]]:
        """Give the findings of each frame; none where it has no boxes."""
        read = self.reader.read([frame.pixels for frame in frames], boxes)
        return [self._of(frame, reading) if reading else [] for frame, reading in zip(frames, read, strict=True)]

    def _of(self, frame: Frame, reading: Reading) -> list[Finding]:
        quality = _classification(frame, self._quality, np.array([reading.standard, 1.0 - reading.standard]))
        if quality.value_name != QUALITIES[0]:
            reason = "the plane is not a standard one"
            return [quality, NotAssessable(TASK, frame.reference, NORMALITY, reason)]
        return [quality, *(self._of_structure(frame, name, odds) for name, odds in reading.categories.items())]

    def _of_structure(self, frame: Frame, structure: str, probabilities: npt.NDArray[np.float64]) -> Finding:
        name = f"{structure}_{CATEGORY}"
        if probabilities.max() < CATEGORY_FLOOR:
            reason = f"no category reaches a probability of {CATEGORY_FLOOR:.0%}"
            return NotAssessable(TASK, frame.reference, name, reason)
        detection = self._detections[structure]
        answer = _classification(frame, self._category, probabilities)
        return replace(answer, name=name, site=detection.site or detection.concept, detection=structure)


def _classification(frame: Frame, output: Output, probabilities: npt.NDArray[np.float64]) -> Classification:
    best = output.values[int(probabilities.argmax())]
    return Classification(
        task=TASK,
        frames=(frame.reference,),
        name=output.name,
        concept=output.concept,
        value=best.concept,
        value_name=best.name,
        probabilities=tuple((v.concept, float(p)) for v, p in zip(output.values, probabilities, strict=True)),
        qualifier=LEARNED_FROM[output.name],
        caveat=CAVEAT[output.name],
    )
