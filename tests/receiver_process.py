"""A receiver in a process of its own, so that its memory, threads and connections can be looked at from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from small_disk import MIB, database_of, on_a_small_disk
from sqlalchemy import func, select

from dicom_node.store.tables import AssociationRow

ACSE_S, DIMSE_S, NETWORK_S = 2.0, 2.0, 3.0  # what a receiver waits, short enough for tests
MAX_ASSOCIATIONS = 10


@dataclass
class ReceiverProcess:
    """What can be seen of it from outside. ``port`` and ``tls_port`` are where it listens."""

    pid: int
    port: int
    tls_port: int | None
    folder: Path

    def rss_mib(self) -> float:
        """Give the memory that it occupies now."""
        return self._status("VmRSS") / 1024

    def peak_mib(self) -> float:
        """Give the most memory that it has occupied since :meth:`forget_peak`."""
        return self._status("VmHWM") / 1024

    def forget_peak(self) -> None:
        """Begin to measure the peak anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def threads(self) -> int:
        """Count its threads."""
        return self._status("Threads")

    def connections(self) -> int:
        """Count the connections that it has accepted and not closed."""
        ports = {self.port, self.tls_port}
        served = set()
        for line in Path(f"/proc/{self.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if int(local.rpartition(":")[2], 16) in ports and state != "0A":  # TCP_LISTEN
                served.add(f"socket:[{inode}]")
        return len(served & set(self._descriptors()))

    def other_files(self) -> int:
        """Count its open files that are neither sockets nor the database's, which come and go in a pool."""
        return sum("socket:" not in name and "node.sqlite" not in name for name in self._descriptors())

    def open_associations(self) -> int:
        """Count the associations that the log has as open."""
        with database_of(self.folder) as session:
            return session.scalar(select(func.count()).where(AssociationRow.outcome == "open")) or 0

    def half_files(self) -> int:
        """Count what lies in the spool."""
        return sum(path.is_file() for path in (self.folder / "spool").rglob("*"))

    def _descriptors(self) -> list[str]:
        names = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                names.append(str(entry.readlink()))
            except FileNotFoundError:  # closed meanwhile
                continue
        return names

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


@contextmanager
def receiver_process(
    folder: Path,
    tls: tuple[Path, Path] | None = None,
    disk_mib: int | None = None,
    min_free_mib: int = 0,
) -> Iterator[ReceiverProcess]:
    """Run a receiver until the block ends.

    :param tls: certificate and key of a second, encrypted port.
    :param disk_mib: the size of the disk at ``folder``, None: it is as it is.
    """
    command = [sys.executable, __file__, str(folder), str(min_free_mib), *map(str, tls or ())]
    if disk_mib is not None:
        command = on_a_small_disk(command, folder, disk_mib)
    path = os.pathsep.join([str(Path(__file__).parent), *(p for p in sys.path if p)])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        seen = Path(f"/proc/{process.pid}/root{folder}")
        try:
            yield ReceiverProcess(process.pid, said["port"], said["tls_port"], seen)
            assert process.poll() is None, "the receiver died"
        finally:
            process.stdin.close()
            process.wait(30)


def main(folder: str, min_free_mib: str, *tls: str) -> None:
    """Run until nobody holds our standard input any more."""
    from conftest import free_port  # noqa: PLC0415 - pytest is not needed where only the class above is
    from receiver import running_receiver  # noqa: PLC0415

    from dicom_node.config import Config, Scanner, Tls  # noqa: PLC0415
    from dicom_node.dimse.connection import Timeouts  # noqa: PLC0415

    encrypted = Tls(port=free_port(), cert=Path(tls[0]), key=Path(tls[1]), require_client_cert=False) if tls else None

    def change(config: Config) -> Config:
        dicom = config.dicom.model_copy(update={"max_associations": MAX_ASSOCIATIONS, "tls": encrypted})
        scanners = (*config.scanners, Scanner(ae_title="BAD"))
        retention = config.retention.model_copy(update={"min_free_gb": int(min_free_mib) * MIB / 1e9})
        return config.model_copy(update={"dicom": dicom, "scanners": scanners, "retention": retention})

    with running_receiver(
        Path(folder), f"sqlite:///{folder}/node.sqlite", Timeouts(ACSE_S, DIMSE_S, NETWORK_S), change
    ) as receiver:
        receiver.free_bytes = None
        print(json.dumps({"port": receiver.port, "tls_port": encrypted and encrypted.port}), flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
