"""The published network is the one that we think it is: on real images it is right without having been trained here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_node.training.datasets import grey_image, read_planes, split_of
from dicom_node.training.evaluations.planes import SCOPE
from dicom_node.training.sononet import SonoNet16, planes_by_sononet, sononet


def test_a_folder_without_its_weights_has_no_such_network(tmp_path: Path) -> None:
    assert sononet(tmp_path / "data") is None


def test_a_plane_that_it_does_not_know_has_no_probability() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (90, 120), dtype=np.uint8)
    scores = planes_by_sononet(SonoNet16().eval(), [picture, picture], ("femur", "cervix"))
    assert scores.shape == (2, 2)
    assert (scores[:, 0] > 0).all()
    assert (scores[:, 1] == 0).all()


@pytest.mark.data
def test_it_is_right_on_most_real_planes(data_dir: Path) -> None:
    net = sononet(data_dir)
    if net is None:
        pytest.skip("SonoNet16.pth does not lie beside the data")
    examples = [e for e in read_planes(data_dir) if e.plane in SCOPE[1:] and split_of(e.picture.group) == "test"]
    scores = planes_by_sononet(net, [grey_image(e.picture.path) for e in examples], SCOPE)
    right = [SCOPE[place] == e.plane for place, e in zip(scores.argmax(axis=1), examples, strict=True)]
    assert np.mean(right) > 0.9
