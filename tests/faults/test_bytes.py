"""Bytes made to hurt: whatever comes is taken, refused or set aside with a reason, and costs nobody else.

The examples are sound data sets, requests and files, damaged where it matters (tests/mutations.py). DICOM_NODE_FUZZ
asks for that many other examples of each kind.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import synthetic as s
import yaml
from brain_examiner import EXAMINER
from conftest import new_database, wait_until
from hypothesis import given
from hypothesis import strategies as st
from mutations import damaged, damaged_bytes, fuzz
from pydicom import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.dsutils import encode
from receiver import Receiver, association_request, p_data, running_receiver, store_command

from dicom_node.config import parse_config
from dicom_node.dimse import commitment_messages
from dicom_node.dimse.association_pdus import acceptance, parse_request
from dicom_node.dimse.connection import ProtocolViolation
from dicom_node.dimse.contexts import (
    MODALITY_PERFORMED_PROCEDURE_STEP,
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
    Purpose,
    negotiate,
)
from dicom_node.dimse.handlers import CommitmentReport
from dicom_node.domain.result import SopReference
from dicom_node.errors import ConfigError
from dicom_node.pipeline.examination import StoredInstance

pytestmark = pytest.mark.filterwarnings("ignore")  # what pydicom remarks on damaged values

ROOT = Path(__file__).parents[2]
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
_numbers = itertools.count(1)


def encoded(ds: Dataset, syntax: str = EXPLICIT) -> bytes:
    given = encode(ds, UID(syntax).is_implicit_VR, True)
    assert given is not None
    return given


# At the receiver


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("bytes")
    url = f"sqlite:///{folder / 'node.sqlite'}"
    if request.param == "postgresql":  # which takes no text with a NUL
        url = new_database(request.getfixturevalue("postgresql_server"))
    with running_receiver(folder / "var", url) as receiver:
        yield receiver


class Caller:
    """A scanner or destination that sends exactly the bytes that it is told to; it asks again when it is thrown out."""

    def __init__(self, receiver: Receiver, *contexts: tuple[str, str], calling: str = "SCANNER") -> None:
        self._receiver = receiver
        self._request = association_request(*contexts, calling=calling)
        self._wire: socket.socket | None = None

    def send(self, command: bytes, data_set: bytes) -> int | None:
        """Send a message on the first context; gives the Status, or None when the receiver ended the association."""
        if self._wire is None:
            wait_until(self._is_associated, 60, "the end of the association before")
            assert self._wire is not None
        try:
            self._wire.sendall(p_data(3, command) + p_data(2, data_set))
            kind, body = self._answer()
        except ConnectionError:
            kind, body = 7, b""
        if kind != 4:
            self.close()
            return None
        at = body.index(struct.pack("<HHL", 0, 0x0900, 2))
        return int.from_bytes(body[at + 8 : at + 10], "little")

    def _is_associated(self) -> bool:
        self._wire = socket.create_connection(("127.0.0.1", self._receiver.port), timeout=20)
        self._wire.sendall(self._request)
        if self._answer()[0] == 2:  # A-ASSOCIATE-AC
            return True
        self.close()
        return False

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _answer(self) -> tuple[int, bytes]:
        assert self._wire is not None
        head = self._wire.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            raise ConnectionResetError
        return head[0], self._wire.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL)


def no_internal_error(caplog: pytest.LogCaptureFixture) -> bool:
    """Tell whether nothing was logged that nobody had foreseen."""
    return not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_every_data_set_is_kept_byte_for_byte_and_set_aside_with_a_reason(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, syntax: str
) -> None:
    sound = encoded(s.image([s.picture(8, 8)], ReferencedImageSequence=[s.region()]), syntax)
    caller = Caller(receiver, (s.US_IMAGE, syntax))
    before = len(receiver.instances())

    @fuzz(50)
    @given(damaged(sound, syntax))
    def send(data_set: bytes) -> None:
        uid = f"1.2.3.{next(_numbers)}"
        assert caller.send(store_command(uid), data_set) == 0
        assert kept(receiver, uid).endswith(data_set)

    send()
    caller.close()
    rows = receiver.instances()[before:]
    assert {row.state for row in rows} == {"quarantined"}  # the request names an instance that the data set does not
    assert all(row.reason for row in rows)
    assert len(receiver.files()) == len(receiver.instances())
    assert no_internal_error(caplog)


def kept(receiver: Receiver, uid: str) -> bytes:
    (row,) = [row for row in receiver.instances()[-3:] if row.sop_instance_uid == uid]
    return (receiver.data_dir / row.path).read_bytes()


def step() -> Dataset:
    ds, scheduled, series, image = Dataset(), Dataset(), Dataset(), Dataset()
    scheduled.StudyInstanceUID = s.STUDY_UID
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = s.US_IMAGE, "1.2.3"
    series.ReferencedImageSequence = [image]
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.ScheduledStepAttributesSequence, ds.PerformedSeriesSequence = [scheduled], [series]
    return ds


def request() -> Dataset:
    return commitment_messages.action_information("2.25.1", [SopReference(s.US_IMAGE, f"1.2.{n}") for n in range(3)])


def report() -> Dataset:
    committed, failed = SopReference(s.US_IMAGE, "1.2.3"), SopReference(s.US_IMAGE, "1.2.4")
    return commitment_messages.event_information(CommitmentReport("2.25.1", (committed,), ((failed, 0x0110),)))[1]


def command(field: int, **uids: tuple[int, str] | tuple[int, int]) -> bytes:
    elements = [(0x0100, struct.pack("<H", field)), (0x0110, b"\x01\0"), (0x0800, b"\0\0")]
    for tag, value in uids.values():
        text = value.encode() if isinstance(value, str) else struct.pack("<H", value)
        elements.append((tag, text + b"\0" * (len(text) % 2)))
    return b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in sorted(elements))


_WELL_KNOWN = {"sop_class": (0x0003, STORAGE_COMMITMENT_PUSH), "of": (0x1001, STORAGE_COMMITMENT_PUSH_INSTANCE)}
SERVICES: dict[str, tuple[str, str, Callable[[], Dataset], Callable[[], bytes]]] = {
    "MPPS N-CREATE": (
        "SCANNER",
        MODALITY_PERFORMED_PROCEDURE_STEP,
        step,
        lambda: command(0x0140, of=(0x1000, f"1.2.9.{next(_numbers)}")),
    ),
    "commitment N-ACTION": (
        "SCANNER",
        STORAGE_COMMITMENT_PUSH,
        request,
        lambda: command(0x0130, **_WELL_KNOWN, action=(0x1008, 1)),
    ),
    "commitment N-EVENT-REPORT": (
        "PACS",
        STORAGE_COMMITMENT_PUSH,
        report,
        lambda: command(0x0100, **_WELL_KNOWN, event=(0x1002, 2)),
    ),
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("service", SERVICES)
def test_every_data_set_of_a_service_is_answered_or_ends_its_association(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, service: str, syntax: str
) -> None:
    calling, sop_class, make, make_command = SERVICES[service]
    sound = encoded(make(), syntax)
    caller = Caller(receiver, (sop_class, syntax), calling=calling)
    assert caller.send(make_command(), sound) == 0

    @fuzz(40)
    @given(damaged(sound, syntax))
    def send(data_set: bytes) -> None:
        caller.send(make_command(), data_set)

    send()
    assert caller.send(make_command(), sound) == 0
    caller.close()
    assert no_internal_error(caplog)


def test_every_association_request_is_read_or_refused() -> None:
    sound = association_request((s.US_IMAGE, EXPLICIT), (s.US_MULTI_FRAME, IMPLICIT))

    @fuzz(200)
    @given(damaged_bytes(sound, range(6, len(sound))))
    def read(pdu: bytes) -> None:
        with contextlib.suppress(ProtocolViolation):
            request = parse_request(pdu.ljust(74, b"\0"))
            assert acceptance(pdu.ljust(74, b"\0"), negotiate(request.contexts, Purpose.SCANNER), request.roles)

    read()


# In the configuration


YAML = (
    "2026-13-45",
    "!!int x",
    "!!float x",
    "!!timestamp x",
    "[" * 3000,
    "9" * 5000,
    "&a [*a]",
    "? [a]\n: 1",
    "\0",
    ".inf",
)


def test_every_configuration_is_used_or_refused() -> None:
    sound = yaml.safe_dump(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))  # without its comments
    lines = [at for at, letter in enumerate(sound) if letter in ":\n"]
    change = st.tuples(
        st.sampled_from(lines), st.one_of(st.sampled_from(YAML), st.text(max_size=8)), st.integers(0, 30)
    )

    @fuzz(30)
    @given(st.lists(change, min_size=1, max_size=3))
    def parse(changes: list[tuple[int, str, int]]) -> None:
        text = sound
        for at, new, instead in changes:
            text = f"{text[: at + 1]} {new}{text[at + 1 + instead :]}"
        with contextlib.suppress(ConfigError):
            parse_config(text, Path("/nowhere/config.yaml"))

    parse()


# In the analysis


PICTURE = s.picture(40, 64)
SOUND: dict[str, Callable[[], Dataset]] = {
    "explicit": lambda: s.image([PICTURE]),
    "implicit": lambda: s.image([PICTURE], ImplicitVRLittleEndian),
    "JPEG cine": lambda: s.image([PICTURE] * 3, JPEGBaseline8Bit),
    "RLE": lambda: s.image([PICTURE], RLELossless),
    "JPEG-LS": lambda: s.image([PICTURE], JPEGLSLossless),
    "JPEG 2000": lambda: s.image([PICTURE], JPEG2000Lossless),
    "scanner SR": lambda: s.as_read(
        s.scanner_report(
            s.biometry_section(s.text_item(s.SUBJECT_ID, "A"), s.biometry_group("HC", (17.6, "cm"))),
            s.date_item(s.LMP, "20250620"),
        )
    ),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_damaged_file_never_costs_the_rest_of_its_study(tmp_path: Path, kind: str) -> None:
    sound = s.write(SOUND[kind](), tmp_path / "sound.dcm").read_bytes()
    start = 144 + int.from_bytes(sound[140:144], "little")
    whole = StoredInstance("1.2.99", s.write(s.image([PICTURE], number=99), tmp_path / "whole.dcm"))
    file = tmp_path / "damaged.dcm"
    syntax = IMPLICIT if kind == "implicit" else EXPLICIT

    @fuzz(50)
    @given(damaged(sound, syntax, start))
    def examine(content: bytes) -> None:
        file.write_bytes(content)
        found = EXAMINER.examine([StoredInstance("1.2.1", file), whole], max_frames=4)
        assert any(reference.sop_instance_uid.endswith(".99") for reference, _ in found.key_frames) or [
            it for it in found.not_analysed if "Patient ID differs" in it.reason
        ]

    examine()


# Bombs: small things that would become large


DECODE = """
import sys
from pathlib import Path
import numpy, pydicom.pixels  # what is loaded once counts for nobody
from dicom_node.errors import BadInput
from dicom_node.imaging.frames import frames_of, open_instance

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) // 1024

for path in map(Path, sys.argv[1:]):
    open("/proc/self/clear_refs", "w").write("5")
    before, said = status("VmRSS"), "decoded"
    try:
        instance = open_instance(path)
        said = getattr(next(frames_of(instance, [1])), "reason", said)
    except BadInput as error:
        said = str(error)
    print(path.stem, max(0, status("VmHWM") - before), said, sep="\t", flush=True)
"""
MEMORY_MIB = 420  # a deflated instance at its limit takes 256, a frame at its limit 146 on its way to 30


def bomb_jpeg(folder: Path) -> str:
    ds = s.image([PICTURE], JPEGBaseline8Bit, Rows=65535, Columns=65535)
    bomb = bytearray(s.jpeg(PICTURE))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = b"\xff\xff\xff\xff"
    ds.PixelData = s.encapsulate([bytes(bomb)])
    s.write(ds, folder / "jpeg.dcm")
    return "a frame of 65535 x 65535 pixels is larger than any ultrasound picture"


def jpeg_of_another_size(folder: Path) -> str:
    s.write(s.image([PICTURE], JPEGBaseline8Bit, Rows=41, Columns=65), folder / "other.dcm")
    return "the compressed picture is 64 x 40, the header says 65 x 41"


def large_jpeg_2000(folder: Path) -> str:
    """Make a black picture of as many pixels as are decoded at all: 10 kB become 30 MB."""
    ds = s.image([np.zeros((3160, 3160, 3), np.uint8)], JPEG2000Lossless)
    assert s.write(ds, folder / "large.dcm").stat().st_size < 100_000
    return "decoded"


def rle_of_a_small_picture(folder: Path) -> str:
    """Make a segment that is larger than its plane, and would become 600 MB."""
    ds = s.image([PICTURE], RLELossless)
    segment = b"\x81\x00" * 5_000_000
    offsets = (64, 64 + len(segment), 66 + len(segment))
    ds.PixelData = s.encapsulate([struct.pack("<16L", 3, *offsets, *[0] * 12) + segment + b"\x81\x00" * 2])
    s.write(ds, folder / "rle.dcm")
    return "the compressed picture is larger than it would be without compression"


def deflated_zeros(folder: Path) -> str:
    path = s.write(s.image([PICTURE], DeflatedExplicitVRLittleEndian), folder / "deflated.dcm")
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    data_set = zlib.decompress(whole[start:], -zlib.MAX_WBITS) + b"\xfc\xff\xfc\xffOB\0\0\0\0\0\x7f"
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(
        whole[:start]
        + packer.compress(data_set)
        + b"".join(packer.compress(bytes(1 << 24)) for _ in range(20))
        + packer.flush()
    )
    return "the deflated data set inflates to more than any ultrasound instance"


def lying_number_of_frames(folder: Path) -> str:
    s.write(s.image([PICTURE], NumberOfFrames=2**31 - 1), folder / "frames.dcm")
    return "decoded"  # of the one frame that is there, nothing is lost


def items_without_end(folder: Path) -> str:
    insert(folder / "items.dcm", b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000)
    return "the data set cannot be read: it has more than 250000 elements"


def sequences_without_end(folder: Path) -> str:
    level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    insert(folder / "nested.dcm", level * 100_000)
    return "the data set cannot be read: maximum recursion depth exceeded"


def private_gigabyte(folder: Path) -> str:
    """Put a gigabyte before the pixel data; the file has a hole there, and is small on the disk."""
    path = folder / "private.dcm"
    insert(path, b"\x09\x00\x01\x10OB\0\0" + struct.pack("<L", 1 << 30))
    whole = path.read_bytes()
    at = whole.index(b"\x09\x00\x01\x10OB") + 12
    with path.open("r+b") as file:
        file.truncate(at + (1 << 30))
        file.seek(at + (1 << 30))
        file.write(whole[at:])
    return "decoded"


def insert(path: Path, elements: bytes) -> None:
    """Put elements where they belong into a sound picture: before group 0010."""
    whole = s.write(s.image([PICTURE]), path).read_bytes()
    at = whole.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(whole[:at] + elements + whole[at:])


BOMBS = (
    bomb_jpeg,
    jpeg_of_another_size,
    large_jpeg_2000,
    rle_of_a_small_picture,
    deflated_zeros,
    lying_number_of_frames,
    items_without_end,
    sequences_without_end,
    private_gigabyte,
)


def test_no_bomb_goes_off(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    expected = [make(tmp_path) for make in BOMBS]
    files = sorted(tmp_path.glob("*.dcm"), key=lambda path: path.stat().st_mtime_ns)
    ran = subprocess.run(
        [sys.executable, "-c", DECODE, *map(str, files)], check=True, capture_output=True, text=True, timeout=100
    )
    said = [line.split("\t") for line in ran.stdout.splitlines()]
    for name, mib, _ in said:
        record_property(f"{name}_mib", mib)
    assert [reason[: len(told)] for (_, _, reason), told in zip(said, expected, strict=True)] == expected
    assert {name: int(mib) for name, mib, _ in said if int(mib) > MEMORY_MIB} == {}
