"""What `dicom-node demo` may remove, and how it tells an answer. The demo as a whole is among the acceptance tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic import image, write

from dicom_node.demo import MARK, answer_table, empty_folder, run_demo
from dicom_node.errors import BadInput


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "still.dcm"
    path.parent.mkdir()
    return write(image(), path)


def run(out: Path, *files: Path) -> None:
    run_demo(Console(file=io.StringIO()), files, None, out)


def test_a_folder_that_is_not_of_a_demo_is_left_as_it_is(tmp_path: Path, instance: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("years of work")
    with pytest.raises(BadInput, match=r"not empty and no folder of an earlier demo.*--out"):
        run(folder, instance)
    assert (folder / "chapter1.txt").read_text() == "years of work"


def test_nothing_is_removed_before_the_studies_were_read(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    out = tmp_path / "demo"
    empty_folder(out, ())
    (out / "node.log").write_text("of the last demo")
    with pytest.raises(BadInput, match="none of the files"):
        run(out, letter)
    assert (out / "node.log").read_text() == "of the last demo"


def test_the_folder_of_an_earlier_demo_is_emptied_of_what_the_demo_made(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    empty_folder(out, ())
    (out / "var" / "instances").mkdir(parents=True)
    (out / "node.log").write_text("of the last demo")
    (out / "notes.txt").write_text("mine")
    empty_folder(out, ())
    assert {path.name for path in out.iterdir()} == {MARK, "notes.txt"}


def test_ones_own_files_in_the_demos_folder_are_not_removed(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    empty_folder(out, ())
    held = out / "pacs" / "1.dcm"
    held.parent.mkdir()
    write(image(), held)
    with pytest.raises(BadInput, match=r"lies in .*which the demo empties"):
        run(out, held)
    assert held.exists()


@pytest.mark.parametrize("out", [".", "..", "../..", "~"])
def test_the_folder_one_works_in_is_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(BadInput, match="a folder of its own"):
        empty_folder(Path(out).expanduser(), ())


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    path.write_text("not a folder")
    with pytest.raises(BadInput, match="is a file"):
        empty_folder(path, ())


def entry(**said: Any) -> dict[str, Any]:
    return {"task": "planes", "name": "plane", "value": None, "unit": None, "note": None, "frame": None} | said


def test_a_table_of_answers_names_the_image_and_leaves_nothing_dangling() -> None:
    table = answer_table(
        "A study",
        [
            entry(instance="1.2.3", frame=8, value="head"),
            entry(instance="1.2.4", name="not analysed", note="no pixel data"),
            entry(instance="1.2.3", frame=9, note="found"),
        ],
        {"1.2.3": "cine.dcm", "1.2.4": "broken.dcm"},
    )
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["image"] == ["cine.dcm", "broken.dcm", "cine.dcm"]
    assert cells["note"] == ["frame 8", "no pixel data", "frame 9: found"]
