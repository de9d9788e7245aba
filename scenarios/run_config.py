"""From a scenario file and the command line to settings that can be run."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from scenarios.shipped.card import shipped_model
from shared.config.groups import FRESH, PRETRAINED
from shared.config.settings import Settings
from shared.errors import SettingsError
from shared.paths import absolute, cache_folder

Value = str | int | float | bool


def app_folder() -> Path:
    """The folder with Flower's app: where `pyproject.toml` and the packages lie.

    Raises `SettingsError` where Wardround was installed without it.
    """
    folder = Path(__file__).resolve().parent.parent
    if not (folder / "pyproject.toml").is_file():
        raise SettingsError(
            f"{folder} holds Wardround's packages but not its Flower app: "
            "install from a checkout with 'pip install -e FOLDER'"
        )
    return folder


def load_settings(scenario: Path | None, changes: Iterable[str], output: Path | None) -> Settings:
    """Defaults, then the scenario file, then each `key=value`, then the output folder.

    Folders become absolute, since Flower's processes work elsewhere. Raises `SettingsError`.
    """
    config = default_run_config()
    if scenario is not None:
        config |= _read(scenario)
    for change in changes:
        config |= _parse(change, config)
    if output is not None:
        config["output-dir"] = str(output.absolute())
    for key in ("output-dir", "data-dir"):
        if isinstance(config[key], str) and config[key]:
            config[key] = str(absolute(str(config[key]), key))
    if isinstance(config["cache-dir"], str):
        config["cache-dir"] = str(cache_folder(config["cache-dir"]))
    config["start"] = _whole(config["start"])
    return _with_start(Settings.from_run_config(config))


def changed_settings(config: Mapping[str, Value], changes: Iterable[str]) -> Settings:
    """A complete run-config with each `key=value` changed. Raises `SettingsError`."""
    changed, keys = dict(config), set[str]()
    for change in changes:
        parsed = _parse(change, changed)
        changed |= parsed
        keys |= parsed.keys()
    if "start" not in keys:
        return Settings.from_run_config(changed)
    return _with_start(Settings.from_run_config(changed | {"start": _whole(changed["start"])}))


def _whole(start: Value) -> Value:
    """A start with the whole path, where it is one."""
    return str(absolute(start, "start")) if isinstance(start, str) and start not in ("", FRESH, PRETRAINED) else start


def _with_start(settings: Settings) -> Settings:
    """Settings that name the model to start from by its file and its digest, where they name one.

    Hospitals and the coordinator's app, which hold no weights, know it by them. Raises `SettingsError` or
    `ResultsError` where it is missing, is of another network, or is not the one of a digest that is there already.
    """
    if settings.run.start == FRESH:
        return settings
    from shared.model.start import check_digest, read_start  # with torch, which takes seconds
    from shared.model.weights import model_digest

    path = shipped_model() if settings.run.start == PRETRAINED else Path(settings.run.start)
    weights = read_start(path, settings)
    digest = settings.run.start_digest or model_digest(weights)
    named = settings.with_changes({"start": str(path), "start-digest": digest})
    check_digest(weights, named)
    return named


def default_run_config() -> dict[str, Value]:
    """The run-config of `pyproject.toml`."""
    with (app_folder() / "pyproject.toml").open("rb") as file:
        config: dict[str, Value] = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    return config


def toml_lines(values: Mapping[str, Value]) -> str:
    """A flat TOML document: `--run-config` takes its file, and no shell or pattern sees its quotes."""
    return tomli_w.dumps(values)


def _read(scenario: Path) -> Mapping[str, Any]:
    try:
        with scenario.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(
            f"scenario file {scenario} cannot be read ({error.strerror}): give a file such as scenarios/replay.toml"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"scenario file {scenario} is not TOML ({error}): write lines such as seed = 1") from None


def _parse(change: str, known: Mapping[str, Value]) -> dict[str, Value]:
    """`key=value` with the value read as the type that the key has by default."""
    key, equals, text = (part.strip() for part in change.partition("="))
    if not equals or not key:
        raise SettingsError(f"-c {change!r} is not key=value: write for instance -c seed=1")
    kind = type(known.get(key, ""))
    if kind is str:
        return {key: text}
    if kind is bool:
        if text not in ("true", "false"):
            raise SettingsError(f"-c {change!r}: {key} takes true or false")
        return {key: text == "true"}
    try:
        return {key: kind(text)}
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise SettingsError(f"-c {change!r}: {key} takes {noun}, for instance {key}={known[key]}") from None
