"""Every error that craft_stream raises on purpose, as one tree.

    CraftError
    ├── ConfigurationError      a setting or an argument is wrong; exit code 2
    │   └── MissingExtraError   packages of an extra are not installed
    ├── RecordError             a record cannot be decided; it goes to the dead letters with its `reason`
    ├── DataError               too much of the input is bad, or it cannot be read; exit code 1
    │   └── WriteError          an output cannot be written
    ├── TargetError             the target is empty or unusable
    ├── IntegrityError          a Model or Ledger is damaged, or does not belong to what it is used with
    │   ├── NewerReleaseError   a newer release wrote it: upgrade
    │   ├── TopicReplacedError  a ledger is of a topic that was deleted and made anew
    │   └── OffsetMovedError    somebody else has committed another offset than a ledger leads to
    ├── AccessError             the brokers refuse our certificate, login or rights; exit code 77 (a restart changes nothing)
    ├── UnavailableError        brokers out of reach for too long; exit code 75 (a supervisor restarts)
    └── LogTruncatedError       the log no longer holds what must be read again

Each message says what happened and what to do next.
"""

from __future__ import annotations


class CraftError(Exception):
    """Base of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class ConfigurationError(CraftError):
    """A setting, a flag or an argument is wrong."""

    exit_code = 2


class MissingExtraError(ConfigurationError):
    """What was asked for needs packages that an extra installs.

    Args:
        what: that needs them.
        extra: of craft_stream.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra `{extra}`: pip install '.[{extra}]' in a clone of craft_stream"
        )


class RecordError(CraftError):
    """A record cannot be decided.

    Attributes:
        reason: a short code from a closed list (see `records.DecodeReason`), fit for a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DataError(CraftError):
    """The input cannot be read, or more of it is bad than the limit allows."""


class WriteError(DataError):
    """An output cannot be written: the disk is full, perhaps."""


class TargetError(CraftError):
    """The target is empty or cannot describe a domain."""


class IntegrityError(CraftError):
    """A Model or a Ledger fails its checksum, or does not belong to what it is used with."""


class NewerReleaseError(IntegrityError):
    """A newer release wrote it, in a form that this one does not know.

    Args:
        what: that cannot be read, with its form, as "the ledger is of format 9".
        read: the newest form that is.
    """

    def __init__(self, what: str, read: int) -> None:
        super().__init__(f"{what}, which a newer release wrote; this one reads {read} at most: upgrade")


class TopicReplacedError(IntegrityError):
    """A ledger is of a topic that was deleted and made anew: its offsets mean nothing on the new one."""


class OffsetMovedError(IntegrityError):
    """Somebody else has committed another offset than a ledger leads to."""


class AccessError(CraftError):
    """The brokers refuse a certificate, a login, or a right that is needed."""

    exit_code = 77


class UnavailableError(CraftError):
    """Brokers have been out of reach for longer than allowed."""

    exit_code = 75


class LogTruncatedError(CraftError):
    """The log no longer holds records that must be read again."""
