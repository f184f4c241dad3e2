"""A model's card and registry entry: ``models/<task>/manifest.yaml``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dicom_node.domain.concept import Concept
from dicom_node.domain.result import Algorithm
from dicom_node.errors import ModelError

MANIFEST = "manifest.yaml"


class Entry(BaseModel):
    """A part of a manifest: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _concept(raw: Any) -> Any:
    if isinstance(raw, Concept):
        return raw
    if not isinstance(raw, dict) or set(raw) != {"value", "scheme", "meaning"}:
        raise ValueError("a concept has value, scheme and meaning, and nothing else")
    return Concept(*(str(raw[key]) for key in ("value", "scheme", "meaning")))


Coded = Annotated[Concept, BeforeValidator(_concept)]


class Input(Entry):
    """What a network sees, in pixels."""

    width: int
    height: int
    channels: int


class Network(Entry):
    """One network of a task; its numbers lie beside the manifest, in ``<its name>.safetensors``."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    input: Input | None = None  #: None where it sees no picture


class Value(Entry):
    """One class of a classification."""

    name: str
    concept: Coded
    site: Coded | None = None


class Output(Entry):
    """One thing that the task can say, with its code."""

    name: str
    kind: Literal["detection", "classification", "measurement", "segmentation"]
    concept: Coded
    site: Coded | None = None
    unit: Literal["mm"] | None = None
    values: tuple[Value, ...] = ()

    def value(self, name: str) -> Value:
        """Give a class by its name.

        :raises ModelError: there is none.
        """
        for value in self.values:
            if value.name == name:
                return value
        raise ModelError(f"output {self.name!r} has no value {name!r}")


class Metric(Entry):
    """One figure, never without what it was measured on."""

    name: str
    value: float
    ci95: tuple[float, float] | None
    n: int
    data: Literal["real", "simulated"]
    dataset: str
    command: str


class Manifest(Entry):
    """Everything that is known of one model. ``folder`` is where it lies."""

    folder: Path
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    version: str
    title: str
    intended_use: str
    not_for: str
    licence: str
    networks: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Network] = Field(min_length=1)
    outputs: tuple[Output, ...]
    training_data: str
    split_seed: int
    metrics: tuple[Metric, ...]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a model's folder.

        :raises ModelError: it is missing, is not YAML, has a key too many or too few, or names another task.
        """
        path = folder / MANIFEST
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ModelError(f"{path} is not YAML: {error}") from error
        if not isinstance(raw, dict):
            raise ModelError(f"{path} is not a table of keys")
        if "folder" in raw:
            raise ModelError(f"{path}: folder: unknown key")
        try:
            manifest = cls.model_validate({**raw, "folder": folder})
        except ValidationError as error:
            raise ModelError(f"{path}: {_told(error)}") from error
        if manifest.name != folder.name:
            raise ModelError(f"{path} says name: {manifest.name}, but lies in the folder {folder.name}")
        return manifest

    def weights_path(self, network: str) -> Path:
        """Say where a network's numbers lie."""
        return self.folder / f"{network}.safetensors"

    def input_size(self, network: str) -> tuple[int, int]:
        """Give the width and height of what a network sees, in pixels.

        :raises ModelError: the manifest has no such network, or no input for it.
        """
        found = self.networks.get(network)
        if found is None or found.input is None:
            raise ModelError(f"{self.folder / MANIFEST} has no input for a network {network!r}")
        return found.input.width, found.input.height

    def output(self, name: str) -> Output:
        """Give an output by its name.

        :raises ModelError: the manifest has none.
        """
        for output in self.outputs:
            if output.name == name:
                return output
        raise ModelError(f"{self.folder / MANIFEST} has no output {name!r}")

    def check_weights(self) -> None:
        """Compare each network's numbers with their SHA-256.

        :raises ModelError: a file is missing or another one.
        """
        for name, network in self.networks.items():
            path = self.weights_path(name)
            try:
                found = sha256_of(path)
            except OSError as error:
                raise ModelError(f"{path} cannot be read: {error.strerror}") from error
            if found != network.sha256:
                raise ModelError(f"{path} has SHA-256 {found}, its manifest says {network.sha256}")

    @property
    def weights_sha256(self) -> str:
        """One hash for all numbers: the only network's own, else that of all hashes in the manifest's order."""
        hashes = [network.sha256 for network in self.networks.values()]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def algorithm(self) -> Algorithm:
        """Say which model this is, as a report cites it (TID 4019)."""
        detects = tuple(output.name for output in self.outputs if output.kind == "detection")
        return Algorithm(self.name, self.title, self.version, self.weights_sha256, detects)


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file in lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(error: ValidationError) -> str:
    """Say each fault with the key it is about."""
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        faults.append(f"{key}: {'unknown key' if fault['type'] == 'extra_forbidden' else fault['msg']}")
    return "; ".join(faults)
