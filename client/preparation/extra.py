"""The packages of the extra `prepare`, imported when they are first needed."""

import importlib
from importlib import metadata
from typing import Any

from shared.errors import SettingsError

INSTALL = "pip install 'wardround[prepare]'"


def extra(package: str) -> Any:
    """A package of the extra. Raises `SettingsError` where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SettingsError(f"{package} cannot be imported ({error}), and is needed here: {INSTALL}") from None


def version_of(package: str) -> str:
    """A package with its version, as a record of what was done names it."""
    return f"{package} {metadata.version(package)}"
