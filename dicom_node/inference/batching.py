"""Cutting a run of frames into batches that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Give the items in order, at most ``size`` (1 or more) at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
