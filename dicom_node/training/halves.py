"""Half precision in training: most multiplications in bfloat16, depthwise convolutions in single precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

GROUPS = 6  #: the place of ``groups`` among the arguments of ``conv2d``, where layers put it


@contextmanager
def halves(*, enabled: bool = True) -> Iterator[None]:
    """Multiply in bfloat16 on the processor in this block; who asks knows whether that is faster."""
    if not enabled:
        yield
        return
    with torch.autocast("cpu", torch.bfloat16), _SingleDepthwise():
        yield


class _SingleDepthwise(TorchFunctionMode):
    """Keeps convolutions in groups out of it: their gradients in bfloat16 take longer than in single precision."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See torch.overrides."""
        if func is F.conv2d and len(args) > GROUPS and args[GROUPS] > 1:
            with torch.autocast("cpu", enabled=False):
                return func(args[0].float(), *args[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))
