"""Which fetuses, patients and images made a model's weights: lists beside them, so that no figure is of those.

A line of ``NETWORK.seen.txt`` is a group (``<set>/<fetus or patient>``). Where a set names no owners the group is named
after the file, and other images may have that name too (another part of the set is numbered from nothing again): the
line then ends in a digest of the file, and only that very image is seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_node.training.datasets import Picture

SEEN = ".seen.txt"  #: beside a network's weights
DIGITS = 16  #: of a digest: one in 10^19 pairs of images shares them


@dataclass(frozen=True, slots=True)
class Seen:
    """Groups that were seen, each with the digest of its one image, or nothing where all of its images were."""

    groups: Mapping[str, str]

    def has(self, picture: Picture) -> bool:
        """Tell whether a picture is one of those."""
        if picture.group not in self.groups:
            return False
        digest = self.groups[picture.group]
        return not digest or digest == digest_of(picture)


def seen_by(folder: Path) -> Seen:
    """Read what any network of a model was made with, for training or for validation."""
    lines = [line for path in folder.glob(f"*{SEEN}") for line in path.read_text(encoding="utf-8").splitlines()]
    return Seen({group: digest for group, _, digest in (line.partition("\t") for line in lines)})


def seen_lines(pictures: Iterable[Picture]) -> str:
    """Give the lines that list pictures as seen."""
    lines = {f"{it.group}\t{digest_of(it)}" if _named_after_its_file(it) else it.group for it in pictures}
    return "".join(f"{line}\n" for line in sorted(lines))


def digest_of(picture: Picture) -> str:
    """Give the beginning of the SHA-256 of a picture's file."""
    return hashlib.sha256(picture.path.read_bytes()).hexdigest()[:DIGITS]


def _named_after_its_file(picture: Picture) -> bool:
    return picture.group.partition("/")[2] == picture.path.stem
