"""A coded concept: the triplet of PS3.3 Table 8.8-1 (Code Value, Coding Scheme Designator, Code Meaning)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Concept:
    """One coded concept. Two concepts are the same when value and scheme agree; the meaning is for people."""

    value: str
    scheme: str
    meaning: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Concept) and (self.value, self.scheme) == (other.value, other.scheme)

    def __hash__(self) -> int:
        return hash((self.value, self.scheme))

    def __str__(self) -> str:
        return self.meaning
