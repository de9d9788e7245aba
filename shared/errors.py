"""The one exception tree of Wardround.

Every message says what is wrong, where, and what to do. The command line prints it as one
line; a client sends it to the coordinator as the reason of a Flower error reply.

    WardroundError
    ├── SettingsError    a run-config, scenario file or command-line value is unusable
    ├── DataError        a hospital's images or labels are missing or unusable
    ├── MessageError     a Flower message does not hold what it must
    ├── CenterError      a center is missing, failed or refused
    ├── ResultsError     a results folder cannot be used
    └── LaunchError      a run could not be started, or did not finish well
"""


class WardroundError(Exception):
    """Anything that Wardround itself found wrong."""


class SettingsError(WardroundError):
    """A run-config, scenario file or command-line value is unusable."""


class DataError(WardroundError):
    """A hospital's images or labels are missing or unusable."""


class MessageError(WardroundError):
    """A Flower message does not hold what it must."""


class CenterError(WardroundError):
    """A center is missing, failed or refused."""


class ResultsError(WardroundError):
    """A results folder cannot be used."""


class LaunchError(WardroundError):
    """A run could not be started, or did not finish well."""
