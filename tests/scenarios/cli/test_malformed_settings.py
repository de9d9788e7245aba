"""Malformed settings end in one clear line: keys and values on the command line, and scenario files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.run_config import load_settings
from shared.errors import WardroundError
from tests.support.commands import SMOKE, one_line
from tests.support.examples import examples

CHANGES = {
    "method=": "method = ''",
    "=replay": "is not key=value",
    "method": "is not key=value",
    "": "is not key=value",
    "Method=replay": "unknown key 'Method'",
    "seed=one": "seed takes a whole number",
    "seed=1.5": "seed takes a whole number",
    "seed=99999999999999999999": "seed = 99999999999999999999",
    "steps=0": "steps and epochs are both 0",
    "resume=yes": "resume takes true or false",
    "spacing=nan": "spacing = nan",
    "spacing=-1": "spacing = -1.0",
    "learning-rate=1e999": "learning-rate = inf",
    "test-fraction=1": "test-fraction = 1.0",
    "centers=": "centers = ",
    "centers=milan,milan": "named twice",
    "centers=../milan": "is no center name",
    "centers=milan;amu": "is no center name",
    "contrasts=FLAIR,FLAIR": "named twice",
    "patch-size=17": "patch-size = 17",
    "memory-megabytes=1e6": "memory-megabytes = 1000000.0",
    "message-hours=0": "message-hours = 0.0",
    "device=abacus": "device = 'abacus'",
    f"seed={'9' * 5000}": "seed takes a whole number",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[:30])
def test_a_malformed_key_or_value_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    one_line(monkeypatch, capsys, "run", SMOKE, "-c", change, expected=CHANGES[change])


SCENARIOS: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"seed: 1", "is not TOML"),
    "binary": (bytes(range(256)), "is not TOML"),
    "not UTF-8": (b'centers = "\xff"', "is not TOML"),
    "UTF-16": ("seed = 1\n".encode("utf-16"), "is not TOML"),
    "cut off": (b'centers = "milan', "is not TOML"),
    "a key twice": (b"seed = 1\nseed = 2", "is not TOML"),
    "a table": (b'[run]\nmethod = "replay"', "unknown key 'run'"),
    "a list of numbers": (b"centers = [1, 2]", "centers"),
    "a date": (b"seed = 2020-01-01", "seed = "),
    "text for a number": (b'seed = "1"', "seed = '1'"),
    "a number for text": (b"method = 3", "method = 3"),
    "truth for a number": (b"steps = true", "steps = True"),
    "underscores": (b"batch_size = 4", "did you mean 'batch-size'"),
    "a key with a line break": (b'"se\\ned" = 1', "unknown key 'se\\ned'"),
    "a value with a line break": (b'method = "re\\nplay"', "method = 're\\nplay'"),
    "not a number": (b"learning-rate = nan", "learning-rate = nan"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_malformed_scenario_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, expected = SCENARIOS[name]
    path = tmp_path / "scenario.toml"
    path.write_bytes(content)
    one_line(monkeypatch, capsys, "run", str(path), expected=expected)


@examples(0.6)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_noise_is_no_scenario_or_an_empty_one(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_bytes(content)
    try:
        load_settings(path, [], None)
    except WardroundError as error:
        refusal = str(error)
    else:
        refusal = "none"
    assert len(refusal.splitlines()) == 1
