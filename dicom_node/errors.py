"""The error tree. Whether a retry can help is a property of the class, never of the place that catches it.

NodeError
├── ConfigError                 config.yaml cannot be used; says line, key and reason
├── BadInput                    what we were given can never be used (final)
│   ├── InvalidIdentifier       a UID or AE title that the standard does not allow
│   ├── UnreadableDataset       not a DICOM data set, or truncated
│   ├── UndecodableFrame        the pixel data cannot be turned into a picture
│   └── NoPixelData             the instance holds no picture at all
├── ModelError                  a model cannot be loaded, or its weights are not what the manifest says (final)
├── NonConformantObject         a result failed the conformance gate and must not be sent (final)
├── BackupFailed                a backup could not be made or restored; says why (final)
├── SpoolFull                   no room to keep another instance, result or row safely (retryable)
├── DeliveryError               a peer did not take an object
│   ├── TransientDeliveryError  it may take it later: refused, silent, out of resources (retryable)
│   └── PermanentDeliveryError  it never will: wrong class, invalid data set, not allowed (final)
│       └── NothingAccepted     it took none of the presentation contexts that were proposed (final)
├── NameTaken                   another process of that name runs, so this one must not (final)
├── LockLost                    another process took this one's name meanwhile: it must stop (final)
└── IllegalTransition           a state machine was asked for a move that its table does not have (final)
"""

from __future__ import annotations


class NodeError(Exception):
    """Something in the node went wrong."""

    retryable = False

    def __init__(self, message: str | None = None) -> None:
        # The class docstring is the default message, so no error is ever shown empty.
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigError(NodeError):
    """The configuration cannot be used."""


class BadInput(NodeError):
    """The input can never be used."""


class InvalidIdentifier(BadInput):
    """The UID or AE title is not one that the standard allows."""


class UnreadableDataset(BadInput):
    """The bytes are not a readable DICOM data set."""


class UndecodableFrame(BadInput):
    """The pixel data cannot be decoded."""


class NoPixelData(BadInput):
    """The instance holds no pixel data."""


class ModelError(NodeError):
    """The model cannot be loaded."""


class NonConformantObject(NodeError):
    """The result object failed the conformance gate."""


class BackupFailed(NodeError):
    """The backup could not be made or restored."""


class SpoolFull(NodeError):
    """The disk has no room to keep anything more safely."""

    retryable = True


class DeliveryError(NodeError):
    """The destination did not take the object.

    :ivar status: the DIMSE status of PS3.7 Annex C, or None when there was no answer.
    """

    def __init__(self, message: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TransientDeliveryError(DeliveryError):
    """The destination did not take the object now, but may later."""

    retryable = True


class PermanentDeliveryError(DeliveryError):
    """The destination will never take this object as it is."""


class NothingAccepted(PermanentDeliveryError):
    """The destination accepted none of the proposed presentation contexts."""


class NameTaken(NodeError):
    """Another process with this name runs already."""


class LockLost(NodeError):
    """The lock on this process's name was lost and another process has it."""


class IllegalTransition(NodeError):
    """The state machine has no such move."""
