"""Memory that was freed stays with the process, however much it is."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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
