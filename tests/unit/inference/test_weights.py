"""Numbers go to a file and come back as they were, to the precision of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dicom_node.errors import ModelError
from dicom_node.inference.weights import load_weights, save_weights


def test_numbers_come_back_in_half_precision_unless_a_half_cannot_hold_them(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    net[1].running_var = torch.tensor([758607.6875, 1.0 / 3.0, 2.0])  # of a published network's first layer
    save_weights(net.state_dict(), tmp_path / "net.safetensors")
    read = load_weights(nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3)), tmp_path / "net.safetensors", "cpu")
    numbers = read.state_dict()
    assert numbers["1.running_var"].tolist() == net[1].running_var.tolist()
    assert numbers["0.weight"].tolist() == net[0].weight.half().float().tolist()
    assert (tmp_path / "net.safetensors").stat().st_mode & 0o777 == 0o644
    assert not list(tmp_path.glob("*.partial"))


def test_numbers_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(nn.Linear(2, 3).state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(ModelError, match="does not fit its network"):
        load_weights(nn.Linear(3, 3), tmp_path / "net.safetensors", "cpu")
