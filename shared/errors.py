"""The one exception tree of Wardround.

Every message says what is wrong, where, and what to do. The command line prints it as one
line; a client in a simulation sends it to the coordinator. What a deployed hospital's client
sends is `public`, which names no file or folder of the hospital; its own log has the whole.

    WardroundError
    ├── SettingsError    a run-config, scenario file or command-line value is unusable
    ├── DataError        a hospital's images or labels are missing or unusable
    ├── MessageError     a Flower message does not hold what it must
    ├── CenterError      a center is missing, failed or refused
    ├── TrainingError    a stage's training went wrong
    ├── ResultsError     a results folder cannot be used
    ├── DamagedError     a file that Wardround wrote is not whole
    ├── LaunchError      a run could not be started, or did not finish well
    ├── TrustError       a key is unknown, swapped, or not kept safe
    ├── SealError        a sealed contribution was changed, or is not for this place and time
    ├── PolicyError      a hospital's policy forbids it
    └── RecordError      a hospital's own record (audit log, withdrawals) cannot be relied on
"""

from typing import ClassVar


class WardroundError(Exception):
    """Anything that Wardround itself found wrong."""

    outside: ClassVar[str] = ""
    """What a hospital says of it where nothing else was given: for errors that name files."""

    def __init__(self, message: str, public: str | None = None) -> None:
        super().__init__(message)
        self.public = public or self.outside or message


class SettingsError(WardroundError):
    """A run-config, scenario file, `hospital.toml` or command-line value is unusable."""


class DataError(WardroundError):
    """A hospital's images or labels are missing or unusable.

    Its `public` says of which kind the fault is, such as `cannot be read`.
    """

    outside = "cannot be used"


class MessageError(WardroundError):
    """A Flower message does not hold what it must."""


class CenterError(WardroundError):
    """A center is missing, failed or refused."""


class TrainingError(WardroundError):
    """A stage's training went wrong."""


class ResultsError(WardroundError):
    """A results folder cannot be used."""

    outside = "a folder of the hospital cannot be written; its client's log says which"


class DamagedError(WardroundError):
    """A file that Wardround wrote is not whole, or was changed since."""

    outside = "a file that the hospital kept is damaged; its client's log says which"


class LaunchError(WardroundError):
    """A run could not be started, or did not finish well."""


class TrustError(WardroundError):
    """A key is unknown, swapped, or not kept safe."""

    outside = "a key at the hospital cannot be used; its client's log says which and why"


class SealError(WardroundError):
    """A sealed contribution was changed, or is not for this place and time."""


class PolicyError(WardroundError):
    """A hospital's policy forbids it."""


class RecordError(WardroundError):
    """A hospital's own record (audit log, withdrawals) cannot be relied on."""

    outside = "a record of the hospital (audit log or withdrawals) cannot be relied on; its client's log says more"
