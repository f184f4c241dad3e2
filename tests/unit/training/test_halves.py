"""Half precision in training: what is multiplied in it, and what is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dicom_node.tasks.biometry.net import BiometryNet
from dicom_node.tasks.planes.net import PlanesNet
from dicom_node.training.halves import halves

PICTURES = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))


def answered(net: nn.Module, picture: torch.Tensor) -> dict[bool, set[torch.dtype]]:
    """The types that the convolutions of a network answer in halves: those in groups (True) and the others."""
    types: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, answer: types[layer.groups > 1].add(answer.dtype))
    with halves(), torch.no_grad():
        net(picture)
    return types


@pytest.mark.parametrize("net", [PlanesNet, BiometryNet])
def test_depthwise_convolutions_of_the_networks_stay_in_single_precision(net: type[nn.Module]) -> None:
    types = answered(net().eval(), torch.zeros(1, 1, 64, 64))
    assert types == {True: {torch.float32}, False: {torch.bfloat16}}


def test_gradients_are_those_of_single_precision_but_for_rounding() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    with halves():
        loss = net(PICTURES).float().square().mean()
    loss.backward()
    plain = torch.autograd.grad(net(PICTURES).square().mean(), list(net.parameters()))
    for parameter, gradient in zip(net.parameters(), plain, strict=True):
        assert parameter.grad is not None
        assert parameter.grad == pytest.approx(gradient, abs=0.05 * float(gradient.abs().max()))


def test_it_can_be_left_out_and_ends() -> None:
    convolution = nn.Conv2d(8, 8, 1)
    with halves(enabled=False):
        assert convolution(PICTURES).dtype is torch.float32
    with halves():
        assert convolution(PICTURES).dtype is torch.bfloat16
    assert convolution(PICTURES).dtype is torch.float32
