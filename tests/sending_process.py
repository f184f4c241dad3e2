"""The sending half of a node in a process of its own; it gives an answer for each line that it is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from small_disk import database_of, on_a_small_disk

from dicom_node.store.overview import show_study


@dataclass
class SendingProcess:
    """A node that answers on demand; ``folder`` is its own, seen from outside."""

    process: subprocess.Popen[str]
    port: int
    folder: Path

    def answer(self) -> tuple[str, list[str]]:
        """Have it give an answer of two objects; gives the study's and the objects' UIDs."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("answer\n")
        self.process.stdin.flush()
        study, uids = json.loads(self.process.stdout.readline())
        return study, uids

    def state(self, study: str) -> str:
        """Give the word for a study."""
        with database_of(self.folder) as session:
            record = show_study(session, study)
        assert record is not None
        return record.line.state


@contextmanager
def sending_process(folder: Path, destination: dict[str, object], disk_mib: int) -> Iterator[SendingProcess]:
    """Run it until the block ends, everything it keeps on a disk of this size."""
    command = on_a_small_disk([sys.executable, __file__, str(folder), json.dumps(destination)], folder, disk_mib)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here / "integration"), *(p for p in sys.path if p)])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        seen = Path(f"/proc/{process.pid}/root{folder}")
        try:
            yield SendingProcess(process, port, seen)
            assert process.poll() is None, "the node died"
        finally:
            process.stdin.close()
            process.wait(60)


def main(folder: str, destination: str) -> None:
    """Answer until nobody holds our standard input any more."""
    from sending_node import SendingNode  # noqa: PLC0415

    from dicom_node.domain.delivery import RetryPolicy  # noqa: PLC0415

    patient = RetryPolicy(base=timedelta(seconds=0.2), cap=timedelta(seconds=0.5), limit=10_000, jitter=0)
    node = SendingNode(Path(folder), f"sqlite:///{folder}/node.sqlite", [json.loads(destination)])
    node.patience(delivery=patient, commitment=patient)
    with node:
        print(node.port, flush=True)  # noqa: T201
        for _ in sys.stdin:
            print(json.dumps(node.answer()), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
