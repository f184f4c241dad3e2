"""Half precision in training: what is multiplied in it, and what is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dicom_node.training.halves import halves

PICTURES = torch.randn(2, 8, 6, 6)


@pytest.mark.parametrize(("groups", "of_type"), [(1, torch.bfloat16), (8, torch.float32)])
def test_all_but_depthwise_convolutions_are_in_halves(groups: int, of_type: torch.dtype) -> None:
    convolution = nn.Conv2d(8, 8, 3, groups=groups)
    with halves():
        assert convolution(PICTURES).dtype is of_type
    assert convolution(PICTURES).dtype is torch.float32


def test_a_depthwise_convolution_takes_what_another_one_made_in_halves() -> None:
    net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    with halves():
        loss = net(PICTURES).float().square().mean()
    loss.backward()
    plain = torch.autograd.grad(net(PICTURES).square().mean(), list(net.parameters()))
    for parameter, gradient in zip(net.parameters(), plain, strict=True):
        assert parameter.grad is not None
        assert parameter.grad == pytest.approx(gradient, abs=0.02 * float(gradient.abs().max()))


def test_it_can_be_left_out() -> None:
    with halves(enabled=False):
        assert nn.Conv2d(8, 8, 1)(PICTURES).dtype is torch.float32
