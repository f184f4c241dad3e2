"""AE titles managed by command: the file stays what a person wrote."""

import errno
import os
import shutil
import stat
import subprocess
import sys
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


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_removing_takes_away_the_entry_and_no_comment_around_it(file: Path) -> None:
    file.write_text(
        "scanners:   # who may send\n"
        "  # the old one\n"
        "  - ae_title: OLD  # to be replaced\n"
        "    # it is slow\n"
        "    quiet_seconds: 60\n"
        "\n"
        "  # the new one\n"
        "  - ae_title: NEW\n"
        "    host:\n"
        "# what comes now has no need of them\n"
        "web: {port: 8081}\n"
    )
    remove(file, "OLD")
    assert lines_of(file) == [
        "scanners:   # who may send",
        "  # the old one",
        "",
        "  # the new one",
        "  - ae_title: NEW",
        "    host:",
        "# what comes now has no need of them",
        "web: {port: 8081}",
    ]
    remove(file, "NEW")
    assert lines_of(file)[0] == "scanners: []   # who may send"
    assert lines_of(file)[-2:] == ["# what comes now has no need of them", "web: {port: 8081}"]
    assert load_config(file).scanners == ()


def test_both_examples_of_the_shipped_file_can_be_replaced(file: Path) -> None:
    before = lines_of(file)
    remove(file, "VOLUSON1")
    remove(file, "main-pacs")
    assert load_config(file).scanners == load_config(file).destinations == ()
    add_scanner(file, {"ae_title": "VOLUSON1", "host": "10.0.0.7"})
    add_scanner(file, {"ae_title": "123", "host": None})
    add_destination(file, {"name": "main-pacs", "ae_title": "R", "host": "10.0.0.9", "port": 104})
    assert [scanner.ae_title for scanner in load_config(file).scanners] == ["VOLUSON1", "123"]
    first, last = (
        before.index("  - ae_title: VOLUSON1"),
        next(number for number, line in enumerate(before) if line.startswith("    cap_seconds:")),
    )
    start, end = (
        before.index("  - name: main-pacs"),
        next(n for n, line in enumerate(before) if line.startswith("    tls:")),
    )
    assert lines_of(file) == [
        *before[:first],
        "  - ae_title: VOLUSON1",
        "    host: 10.0.0.7",
        "  - ae_title: '123'",
        "    host: null",
        *before[last + 1 : start],
        "  - name: main-pacs",
        "    ae_title: R",
        "    host: 10.0.0.9",
        "    port: 104",
        *before[end + 1 :],
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "scanners:\n  - ae_title: N\n"),
        ("# mine\nweb: {port: 81}\n", "# mine\nweb: {port: 81}\n\nscanners:\n  - ae_title: N\n"),
        ("scanners: []  # none\n# end\n", "scanners:     # none\n  - ae_title: N\n# end\n"),
        ("scanners: [{ae_title: A}]  # in brackets\n", "scanners: [{ae_title: A}, {ae_title: N}]  # in brackets\n"),
        (
            "scanners:\n- ae_title: A  # the first\n\nweb: {}\n",
            "scanners:\n- ae_title: A  # the first\n- ae_title: N\n\nweb: {}\n",
        ),
        ("scanners:\n  - {ae_title: A}", "scanners:\n  - {ae_title: A}\n  - ae_title: N\n"),
    ],
)
def test_an_entry_is_added_in_the_shape_that_the_list_has(file: Path, before: str, after: str) -> None:
    file.write_text(before)
    add_scanner(file, {"ae_title": "N"})
    assert file.read_text() == after


def test_an_entry_of_a_list_in_brackets_is_removed_too(file: Path) -> None:
    file.write_text("scanners: [{ae_title: A}, {ae_title: B}]  # two\n")
    remove(file, "A")
    assert lines_of(file) == ["scanners: [{ae_title: B}]  # two"]
    remove(file, "B")
    assert lines_of(file) == ["scanners: []  # two"]


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


ADD = "import sys; from pathlib import Path; from dicom_node.config_file import add_scanner as add; input(); "


def test_edits_of_several_processes_at_once_all_stay(file: Path) -> None:
    link = file.parent / "elsewhere" / "config.yaml"
    link.parent.mkdir()
    link.symlink_to(file)
    ways = {"A": file, "B": file, "C": link, "D": link}
    processes = []
    for title, path in ways.items():
        edits = f"[add(Path(sys.argv[1]), {{'ae_title': f'{title}{{n}}'}}) for n in range(4)]"
        command = [sys.executable, "-c", ADD + edits, str(path)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE))
    for process in processes:  # each waits for this line once it has started, so they begin together
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    assert {f"{title}{n}" for title in ways for n in range(4)} <= {s.ae_title for s in load_config(file).scanners}
    assert sorted(path.name for path in file.parent.iterdir()) == ["config.yaml", "elsewhere"]
    assert link.is_symlink()


def test_a_file_in_the_way_of_the_new_one_is_not_touched(file: Path) -> None:
    other = file.parent / "other"
    other.write_text("not to be written to")
    (file.parent / ".config.yaml.new").symlink_to(other)
    add_scanner(file, {"ae_title": "EPIQ7"})
    assert load_config(file).scanner("EPIQ7") is not None
    assert other.read_text() == "not to be written to"


@pytest.mark.parametrize("path", ["absent.yaml", "absent/config.yaml", "loop.yaml", "config.yaml/config.yaml"])
def test_a_file_that_is_not_there_is_a_sentence(file: Path, path: str) -> None:
    (file.parent / "loop.yaml").symlink_to(file.parent / "loop.yaml")
    with pytest.raises(ConfigError, match=f"{path}: cannot be"):
        add_scanner(file.parent / path, {"ae_title": "EPIQ7"})


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
