"""Memory that was freed stays with the process, however much it is."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.training import loop, memory

BLOCK = 3 << 30  #: more than an int can say; it is never touched, so that it costs nothing
GROWTH = f"""
import ctypes, resource, sys
from pathlib import Path
from dicom_node.training.memory import keep_freed_memory

def size():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

if sys.argv[1] == "kept":
    assert keep_freed_memory()
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before = size()
block = malloc({BLOCK})
assert block
free(block)
print(size() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
@pytest.mark.parametrize(("how", "kept"), [("kept", True), ("given back", False)])
def test_a_freed_block_stays_with_a_training(how: str, *, kept: bool) -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH, how], capture_output=True, text=True, check=True)
    assert (int(done.stdout) >= BLOCK) == kept


def test_a_training_keeps_freed_memory_before_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[str] = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: called.append("kept"))
    monkeypatch.setattr(loop, "train", lambda *_args, **_options: called.append("trained"))
    monkeypatch.setattr("dicom_node.cli.models.simulated_images", lambda *_args: None)
    done = CliRunner().invoke(app, ["train", "planes", "--data", str(tmp_path), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert called == ["kept", "trained"]
