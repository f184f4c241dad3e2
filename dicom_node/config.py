"""config.yaml -> frozen settings. An unknown key, a wrong type or an impossible value is an error that names its line.

The names are the interface: the file that a person reads is the only place where settings live. Relative paths in it
are relative to the file. A bad file is refused whole.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dicom_node.errors import BadInput, ConfigError
from dicom_node.profile import DEFAULT_OBJECTS, CaptureModality, Encoding, ObjectKind, Profile, SrClass

AnySection = TypeVar("AnySection", "Tls | None", "Syslog | None")
TASK_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def _ae_title(value: str) -> str:
    """Check an AE title: 1 to 16 characters of the default repertoire, no backslash, no outer space (PS3.5 6.2)."""
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", value) or value != value.strip():
        raise ValueError("an AE title has 1 to 16 ASCII characters, no backslash and no space at its ends")
    return value


def _uid_root(value: str) -> str:
    if not re.fullmatch(r"[0-2](\.(0|[1-9]\d*))+", value) or len(value) > 24:  # noqa: PLR2004
        raise ValueError("a UID root is dotted decimal, at most 24 characters, so that 39 remain for the rest")
    return value


def _series_number(value: int) -> int:
    if not 0 <= value < 2**31:
        raise ValueError("a series number is a whole number from 0 to 2147483647 (VR IS, PS3.5 6.2)")
    return value


def _host(value: str) -> str:
    """Check that a name can be looked up at all, or is an address: what cannot is no error of the network."""
    if not value or not value.isprintable() or " " in value:
        raise ValueError("a host is a name or an address")
    try:
        value.encode("idna")
    except UnicodeError as error:
        raise ValueError("no part of a host's name is empty or longer than 63 characters") from error
    return value


def _file_name(value: Path) -> Path:
    if "\0" in str(value):
        raise ValueError("no file has such a name")
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
SeriesNumber = Annotated[int, AfterValidator(_series_number)]
Host = Annotated[str, AfterValidator(_host)]
File = Annotated[Path, AfterValidator(_file_name)]
LONGEST_DAYS = 36500  # a hundred years: much more, and no date is that long ago
Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]


class Section(BaseModel):
    """A part of the file: frozen, and no key that is not described here."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Node(Section):
    """Who the node is, and where it keeps everything."""

    ae_title: AETitle = "DICOM_NODE"
    data_dir: File = Path("var")
    institution: str = ""
    uid_root: Annotated[str, AfterValidator(_uid_root)] | None = None


class Tls(Section):
    """A second, encrypted port (PS3.15 B.12)."""

    port: Port = 2762
    cert: File
    key: File
    ca: File | None = None
    require_client_cert: bool = True


class Dicom(Section):
    """Where the node listens."""

    host: Host = "127.0.0.1"
    port: Port = 11112
    receivers: Annotated[int, Field(ge=1, le=64)] = 2
    max_associations: Annotated[int, Field(ge=1, le=10000)] = 50
    tls: Tls | None = None


class Database(Section):
    """``url`` null: SQLite in ``data_dir``."""

    url: str | None = None

    @field_validator("url")
    def _known_driver(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql+psycopg://", "sqlite:///")):
            raise ValueError("use postgresql+psycopg://… or sqlite:///…, or null for SQLite in data_dir")
        if value is not None:
            _check_url(value)
        return value


def _check_url(url: str) -> None:
    from sqlalchemy import make_url  # noqa: PLC0415 - most files name none

    try:
        name = make_url(url).database
    except Exception as error:  # it has an error of its own, and lets those of others through
        raise ValueError("it is no URL of a database") from error
    if "\0" in (name or "") or (url.startswith("sqlite") and not name):
        raise ValueError("it names no database")


class Scanner(Section):
    """Who may send, and when its studies count as complete."""

    ae_title: AETitle
    host: Host | None = None
    port: Port = 104
    quiet_seconds: Seconds = 10
    cap_seconds: Seconds = 900


class Destination(Section):
    """Who receives results, and how they are written for it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    ae_title: AETitle
    host: Host
    port: Port
    commitment: bool = True
    send: tuple[ObjectKind, ...] = DEFAULT_OBJECTS
    sr_class: SrClass = "comprehensive"
    capture_modality: CaptureModality = "OT"
    encoding: Encoding = "raw"
    private_codes: bool = True
    series_numbers: dict[ObjectKind, SeriesNumber] = {}
    tls: bool = False

    @property
    def profile(self) -> Profile:
        """How results are written for it: the one place where a profile is made of settings."""
        return Profile(
            self.send, self.sr_class, self.capture_modality, self.encoding, self.private_codes, self.series_numbers
        )

    @field_validator("send")
    def _something(cls, value: tuple[ObjectKind, ...]) -> tuple[ObjectKind, ...]:
        if not value:
            raise ValueError("name at least one kind of object, or take the destination out")
        return value

    @model_validator(mode="after")
    def _a_series_for_each_kind(self) -> Self:
        """One series holds objects of one kind: viewers and PACS sort by its number."""
        kinds: dict[int, ObjectKind] = {}
        for kind in self.profile.objects:
            number = self.profile.series_number(kind)
            other = kinds.setdefault(number, kind)
            if other != kind:
                raise ValueError(f"series_numbers: {other} and {kind} would both be series {number}")
        return self


class Analysis(Section):
    """What is looked for, and on which device."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    tasks: tuple[str, ...] = ("planes", "structures", "anomalies", "biometry")
    batch_size: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    max_frames_per_cine: Annotated[int, Field(ge=1, le=10000)] = 64
    detector: Literal["yolo11", "swin", "both"] = "yolo11"

    def options(self, task: str) -> dict[str, object]:
        """Give what a task is loaded with."""
        return {"detector": self.detector} if task == "structures" else {}

    @field_validator("tasks")
    def _gate_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or value[0] != "planes":
            raise ValueError("the first task must be planes: it is the gate for the others")
        if len(set(value)) != len(value) or not all(TASK_NAME.fullmatch(name) for name in value):
            raise ValueError("every task once, by its folder name under models/")
        return value


class Retention(Section):
    """How long things are kept, and how much of the disk stays free."""

    images_days: Annotated[float, Field(ge=0, le=LONGEST_DAYS)] = 7
    results_days: Annotated[float, Field(ge=0, le=LONGEST_DAYS)] = 90
    min_free_gb: Annotated[float, Field(ge=0, le=1e6)] = 5


class Web(Section):
    """Where the admin pages listen."""

    host: Host = "127.0.0.1"
    port: Port = 8080


class Syslog(Section):
    """A syslog server that takes the audit trail over TLS (RFC 5425); ``cert`` and ``key`` show it who we are."""

    host: Host
    port: Port = 6514
    ca: File | None = None
    cert: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        return self


class Audit(Section):
    """How long the audit trail is kept, and who gets it besides."""

    keep_days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = 3650
    syslog: Syslog | None = None


class Logging(Section):
    """What is logged, and in which shape."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section):
    """The whole file."""

    node: Node = Node()
    dicom: Dicom = Dicom()
    database: Database = Database()
    scanners: tuple[Scanner, ...] = ()
    accept_unknown_scanners: bool = False
    destinations: tuple[Destination, ...] = ()
    analysis: Analysis = Analysis()
    retention: Retention = Retention()
    web: Web = Web()
    logging: Logging = Logging()
    audit: Audit = Audit()

    @field_validator("scanners", "destinations")
    def _every_name_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [getattr(entry, "name", entry.ae_title) for entry in value]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"given twice: {', '.join(sorted(twice))}")
        return value

    def scanner(self, ae_title: str) -> Scanner | None:
        """Find the policy of a calling AE title; an unknown one gets the defaults only when that is allowed."""
        for scanner in self.scanners:
            if scanner.ae_title == ae_title:
                return scanner
        return Scanner(ae_title=ae_title) if self.accept_unknown_scanners else None

    def destination(self, name: str) -> Destination | None:
        """Find a destination by its name."""
        return next((d for d in self.destinations if d.name == name), None)

    def known_destination(self, name: str) -> Destination:
        """Find a destination that a person named.

        :raises BadInput: there is none of this name.
        """
        found = self.destination(name)
        if found is None:
            known = ", ".join(destination.name for destination in self.destinations) or "none"
            raise BadInput(f"no destination is named {name!r}; the configuration has: {known}")
        return found

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Every way that results are written now: once for all who want the same, also where nobody is to receive."""
        distinct = {destination.profile.mark: destination.profile for destination in self.destinations}
        return tuple(distinct.values()) or (Profile(),)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database.url or f"sqlite:///{self.node.data_dir / 'node.sqlite'}"


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    :raises ConfigError: with file, line, key and reason for every fault found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Check the text of a configuration file; ``path`` gives the folder that relative paths start from."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not YAML: {getattr(error, 'problem', error)}") from error
    except Exception as error:  # dates and numbers that are none, and nesting without end, have errors of their own
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}:1: the file must hold named sections")
    duplicate = _duplicate_key(tree)
    if duplicate is not None:
        raise ConfigError(f"{path}:{duplicate.start_mark.line + 1}: {duplicate.value}: given twice")
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(fault, tree, path) for fault in error.errors())) from error
    return _with_absolute_paths(config, path.resolve().parent)


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    def with_absolute_files(section: AnySection) -> AnySection:
        files = {name: folder / value for name in ("cert", "key", "ca") if (value := getattr(section, name, None))}
        return section.model_copy(update=files) if section is not None else section

    node = config.node.model_copy(update={"data_dir": folder / config.node.data_dir})
    dicom = config.dicom.model_copy(update={"tls": with_absolute_files(config.dicom.tls)})
    audit = config.audit.model_copy(update={"syslog": with_absolute_files(config.audit.syslog)})
    return config.model_copy(update={"node": node, "dicom": dicom, "audit": audit})


def _explain(fault: Any, tree: yaml.Node | None, path: Path) -> str:
    """One line for one fault: file, line, key, reason."""
    keys = [key for key in fault["loc"] if key not in ("literal", "int", "constrained-int", "[key]")]
    reason = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    return f"{path}:{_line_of(tree, keys)}: {name + ': ' if name else ''}{reason}"


def _line_of(tree: yaml.Node | None, keys: list[str | int]) -> int:
    """Find the line (1-based) of the deepest key that the file really holds."""
    node, line = tree, 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _duplicate_key(tree: yaml.Node | None) -> yaml.ScalarNode | None:
    """Find a key that a mapping holds twice: YAML would silently keep the last."""
    waiting, known = [tree], set()
    while waiting:
        node = waiting.pop()
        if id(node) in known:  # an alias, perhaps of something around it
            continue
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    return key  # type: ignore[no-any-return]
                seen.add(key.value)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
    return None
