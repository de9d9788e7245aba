"""The one exception tree of Wardround.

Every message says what is wrong, where, and what to do. The command line prints it as one
line; a client sends it to the coordinator as the reason of a Flower error reply.

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


class WardroundError(Exception):
    """Anything that Wardround itself found wrong."""


class SettingsError(WardroundError):
    """A run-config, scenario file or command-line value is unusable."""


class DataError(WardroundError):
    """A hospital's images or labels are missing or unusable.

    The message names files and stays in the hospital; `public` is what may be told outside.
    """

    def __init__(self, message: str, public: str = "cannot be used") -> None:
        super().__init__(message)
        self.public = public


class MessageError(WardroundError):
    """A Flower message does not hold what it must."""


class CenterError(WardroundError):
    """A center is missing, failed or refused."""


class TrainingError(WardroundError):
    """A stage's training went wrong."""


class ResultsError(WardroundError):
    """A results folder cannot be used."""


class DamagedError(WardroundError):
    """A file that Wardround wrote is not whole, or was changed since."""


class LaunchError(WardroundError):
    """A run could not be started, or did not finish well."""


class TrustError(WardroundError):
    """A key is unknown, swapped, or not kept safe."""


class SealError(WardroundError):
    """A sealed contribution was changed, or is not for this place and time."""


class PolicyError(WardroundError):
    """A hospital's policy forbids it."""


class RecordError(WardroundError):
    """A hospital's own record (audit log, withdrawals) cannot be relied on."""
