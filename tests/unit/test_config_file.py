"""AE titles managed by command: the file stays what a person wrote."""

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from dicom_node.config import load_config
from dicom_node.config_file import add_destination, add_scanner, remove
from dicom_node.errors import BadInput, ConfigError

SHIPPED = Path(__file__).parents[2] / "config.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(SHIPPED, tmp_path / "config.yaml"))


def test_adding_changes_only_the_added_lines(file: Path) -> None:
    before = file.read_text().splitlines()
    add_scanner(file, {"ae_title": "EPIQ7", "host": None, "quiet_seconds": 20})
    after = file.read_text().splitlines()
    assert [line for line in before if line not in after] == []
    assert load_config(file).scanner("EPIQ7") is not None


def test_adding_then_removing_gives_the_same_settings(file: Path) -> None:
    add_destination(file, {"name": "research", "ae_title": "R", "host": "127.0.0.1", "port": 104})
    assert load_config(file).destination("research") is not None
    remove(file, "research")
    assert load_config(file).model_dump(exclude={"node"}) == load_config(SHIPPED).model_dump(exclude={"node"})


def test_a_bad_entry_leaves_the_file_as_it_was(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="given twice"):
        add_scanner(file, {"ae_title": "VOLUSON1"})
    assert file.read_bytes() == before


def test_removing_what_is_not_there_says_so(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(BadInput, match="no scanner with AE title 'NOBODY'"):
        remove(file, "NOBODY")
    assert file.read_bytes() == before


def test_a_name_of_both_kinds_is_removed_only_when_the_kind_is_said(file: Path) -> None:
    add_scanner(file, {"ae_title": "twin"})
    add_destination(file, {"name": "twin", "ae_title": "R", "host": "127.0.0.1", "port": 104})
    with pytest.raises(BadInput, match=r"both a scanner and a destination.*--scanner or --destination"):
        remove(file, "twin")
    remove(file, "twin", kind="destinations")
    assert load_config(file).scanner("twin") is not None
    assert load_config(file).destination("twin") is None
    remove(file, "twin")
    assert load_config(file).scanner("twin") is None


def test_mode_owner_and_group_stay(file: Path) -> None:
    file.chmod(0o640)
    if os.geteuid() == 0:  # only root may give a file away
        os.chown(file, 1, 2)
    before = file.stat()
    add_scanner(file, {"ae_title": "EPIQ7"})
    after = file.stat()
    assert [after.st_mode, after.st_uid, after.st_gid] == [before.st_mode, before.st_uid, before.st_gid]


def test_a_link_stays_and_its_target_is_edited(file: Path) -> None:
    folder = file.parent / "etc"
    folder.mkdir()
    link = folder / "config.yaml"
    link.symlink_to(file)
    add_scanner(link, {"ae_title": "EPIQ7"})
    assert link.is_symlink()
    assert load_config(file).scanner("EPIQ7") is not None
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_the_content_is_on_the_disk_before_the_name_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    fsync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        happened.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        happened.append("name")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    add_scanner(file, {"ae_title": "EPIQ7"})
    assert happened == ["content", "name", "folder"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("scanners: [\n", 2, "not YAML"),
        ("scanners: foo\n", 1, "scanners: "),
        ("node: {ae_title: A}\nscanners: {ae_title: X}\n", 2, "scanners: "),
        ("- scanners\n", 1, "the file must hold named sections"),
    ],
)
def test_a_file_that_is_wrong_already_is_a_sentence(file: Path, text: str, line: int, reason: str) -> None:
    file.write_text(text)
    for edit in (lambda: add_scanner(file, {"ae_title": "X"}), lambda: remove(file, "X")):
        with pytest.raises(ConfigError, match=rf"config.yaml:{line}: .*{reason}"):
            edit()
    assert file.read_text() == text


def test_a_folder_that_cannot_be_written_is_a_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        add_scanner(file, {"ae_title": "X"})
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]
