"""From the images of a patient to the patient: class probabilities (images, classes), the first class being normal.

Which way the node takes was chosen on the validation split (docs/models/anomalies.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
TOP = 2


def mean(images: Probabilities) -> Probabilities:
    """Give every image one vote."""
    return np.asarray(images.mean(axis=0))


def top_mean(images: Probabilities) -> Probabilities:
    """Let the two images that speak most for an anomaly speak for it; what remains is normal."""
    anomalies = np.sort(images[:, 1:], axis=0)[-TOP:].mean(axis=0)
    return _with_normal(anomalies, float(np.sort(images[:, 0])[:TOP].mean()))


def noisy_or(images: Probabilities) -> Probabilities:
    """Take an anomaly as present unless no image shows it, and images as independent witnesses (Pearl 1988)."""
    anomalies = 1.0 - np.prod(1.0 - images[:, 1:], axis=0)
    return _with_normal(anomalies, float(np.prod(images[:, 0])))


def _with_normal(anomalies: Probabilities, normal: float) -> Probabilities:
    whole = np.concatenate([[normal], anomalies])
    return np.asarray(whole / whole.sum())


POOLINGS: dict[str, Callable[[Probabilities], Probabilities]] = {
    "mean": mean,
    "top_mean": top_mean,
    "noisy_or": noisy_or,
}
