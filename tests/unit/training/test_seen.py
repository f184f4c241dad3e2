"""What weights have seen is recognised: all images of an owner, or the very image where a set names no owners."""

from __future__ import annotations

from pathlib import Path

from dicom_node.training.datasets import Picture
from dicom_node.training.seen import seen_by, seen_lines


def picture(folder: Path, name: str, group: str, content: bytes) -> Picture:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return Picture(path, group, simulated=False)


def test_an_owner_is_seen_with_all_images_and_a_file_without_owner_by_what_it_holds(tmp_path: Path) -> None:
    owned = picture(tmp_path, "Patient7_1.jpg", "planes/7", b"one")
    alone = picture(tmp_path, "0003.jpg", "head_structures/0003", b"two")
    lines = seen_lines([owned, alone])
    assert [line.partition("\t")[0] for line in lines.splitlines()] == ["head_structures/0003", "planes/7"]
    (tmp_path / "net.seen.txt").write_text(lines, encoding="utf-8")
    seen = seen_by(tmp_path)
    assert seen.has(owned)
    assert seen.has(picture(tmp_path, "Patient7_2.jpg", "planes/7", b"another of the same patient"))
    assert not seen.has(picture(tmp_path, "Patient8_1.jpg", "planes/8", b"one"))
    assert seen.has(alone)
    held_out = picture(tmp_path / "held_out", "0003.jpg", "head_structures/0003", b"another head of that number")
    assert not seen.has(held_out)


def test_the_shipped_lists_name_the_images_of_sets_without_owners(tmp_path: Path) -> None:
    models = Path(__file__).parents[3] / "models"
    for task in ("planes", "structures"):
        groups = seen_by(models / task).groups
        heads = {group: digest for group, digest in groups.items() if group.startswith("head_structures/")}
        assert len(heads) > 900
        assert all(len(digest) == 16 for digest in heads.values())
