"""The catalogue of phantoms: every anatomy by name, each deterministic from its seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from dicom_node.simulator.axial_head import BRAIN_PLANES, axial_head
from dicom_node.simulator.femur import femur
from dicom_node.simulator.maternal import cervix, other_view
from dicom_node.simulator.records import HeadEllipse, PhantomImage
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.trunk import abdomen, thorax
from dicom_node.tasks.structures.net import STRUCTURES

ANATOMIES: dict[str, Callable[[Generator], PhantomImage]] = {
    "sagittal_head": sagittal_head,
    "axial_head": axial_head,
    "abdomen": abdomen,
    "femur": femur,
    "thorax": thorax,
    "cervix": cervix,
    "other": other_view,
}


def make_phantom(anatomy: str, seed: int) -> PhantomImage:
    """Draw the phantom of a named anatomy (a key of `ANATOMIES`); the same seed gives the same pixels.

    Raises KeyError for an anatomy that is not in the catalogue.
    """
    return ANATOMIES[anatomy](np.random.default_rng(seed))


__all__ = ["ANATOMIES", "BRAIN_PLANES", "STRUCTURES", "HeadEllipse", "PhantomImage", "make_phantom"]
