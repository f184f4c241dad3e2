"""Building the detector asks nobody for anything and leaves nothing behind."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

BUILD = """
import sys
calls = []
watched = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen")
sys.addaudithook(lambda event, arguments: calls.append((event, str(arguments))) if event in watched else None)
from dicom_node.tasks.structures.net import build_net
build_net("yolo11")
print(calls)
"""


def test_building_the_detector_opens_no_connection_and_writes_nothing_at_home(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "XDG_", "ULTRALYTICS_"))}
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        env={**kept, "HOME": str(home), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [(event, what) for event, what in ast.literal_eval(done.stdout) if "ldconfig" not in what]
    assert calls == []  # looking for a library is all that is allowed
    assert list(home.rglob("*")) == []
    assert not [path for path in temporary.rglob("*") if "ltralytics" in path.name]
