"""Every command in a page: it exists as written, and a test runs it or the page says why not."""

import ast
import importlib
import json
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from scenarios.cli.main import cli, main
from scenarios.results.study import write_study
from shared.config.settings import Settings
from tests.conftest import ROOT
from tests.support.datasets import grid, patient, write_dataset, write_image
from tests.support.pages import PAGES, SHELL, STARTS, Block, blocks, mentions, name_of
from tests.support.studies import make_run, make_study, write_run

Names = dict[str, Any]
"""What a page's Python has defined."""

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.kind == "run"]

ELSEWHERE = ("/data/", "/var/lib/")
"""Folders of a hospital's machine, which a test has below its own folder."""


def fault(words: list[str], whole: bool = True) -> str | None:
    """What is wrong with a `wardround` command, without running it; arguments may be missing where not `whole`."""
    command, rest = typer.main.get_command(cli), words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.commands.get(rest[0])
        if found is None:
            return f"no command {rest[0]!r}"
        command, rest = found, rest[1:]
    if ">" in rest:
        rest = rest[: rest.index(">")]
    if isinstance(command, click.Group):
        return None if not whole or "--help" in rest else "no command is named"
    try:
        context = command.make_context(command.name, list(rest))
    except click.MissingParameter as error:
        return error.format_message() if whole else None
    except click.UsageError as error:
        return error.format_message()
    except click.exceptions.Exit:
        return None  # --help
    keys = {change.partition("=")[0] for change in context.params.get("change") or ()} - {"KEY"}
    if unknown := keys - set(Settings.keys()):
        return f"no key {', '.join(sorted(unknown))}"
    missing = [word for word in rest if word.startswith("scenarios/") and not (ROOT / word).exists()]
    return f"no file {missing[0]}" if missing else None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wardround walk", "no command 'walk'"),
        ("wardround run --fast", "--fast"),
        ("wardround run -c speed=1", "no key speed"),
        ("wardround run scenarios/nothing.toml", "no file scenarios/nothing.toml"),
        ("wardround hospital check", "Missing argument"),
        ("wardround hospital", "no command is named"),
        ("wardround compare --seeds many", "Invalid value"),
    ],
)
def test_a_command_that_does_not_exist_is_found(words: str, expected: str) -> None:
    assert expected in (fault(words.split()) or "")


def test_a_mention_may_leave_arguments_out() -> None:
    assert fault(["wardround", "hospital", "check"], whole=False) is None
    assert fault(["wardround", "hospital"], whole=False) is None
    assert fault(["wardround", "--help"]) is None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_as_written(page: Path) -> None:
    wrong = [
        f"{block}: {' '.join(words)}: {what}"
        for block in blocks(page)
        if block.language in SHELL
        for words in block.commands()
        if words[0].rpartition("/")[2] == "wardround" and (what := fault(words))
    ]
    wrong += [f"{' '.join(words)}: {what}" for words in mentions(page) if (what := fault(words, whole=False))]
    assert not wrong


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in (*SHELL, "")], ids=str)
def test_a_block_of_commands_is_run_or_says_why_not(block: Block) -> None:
    if block.language == "":
        assert not any(STARTS.match(line) for line in block.text.splitlines()), "commands are fenced as sh"
    else:
        assert block.kind, "say above it <!-- run: WORKPLACE --> or <!-- not run: REASON -->"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_what_python_imports_is_there(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


# Workplaces: what a page's commands find where they are run, and what must have come of them


def nothing(folder: Path, run_config: Names) -> None:
    """An empty folder."""


def data(folder: Path, run_config: Names) -> None:
    """A hospital's data set."""
    write_dataset(folder / "data" / "milan", ["sub-01", "sub-02"])


def hospital(folder: Path, run_config: Names) -> None:
    """Enough patients for a mean over five of them, and what a coordinator sends."""
    from scenarios.deployment.certificates import Files, make_trial

    write_dataset(folder / "data" / "milan", [f"sub-{number:02d}" for number in range(1, 19)])
    make_trial(Files(folder / "ca.crt", folder / "server.crt", folder / "server.key"), folder / "authority.key", [])


def export(folder: Path, run_config: Names) -> None:
    """Images and labels with names of their own."""
    shape, affine = grid((3.0, 3.0, 3.0))
    for number, name in enumerate(("Jane", "John")):
        image, label = patient(shape, affine, number)
        write_image(folder / "export" / f"{name} ax flair.nii.gz", image, affine)
        write_image(folder / "export" / f"{name} ax flair lesions.nii.gz", label, affine)


def published(folder: Path, run_config: Names) -> None:
    """Matrices as the paper's authors published theirs, of two centers."""
    matrices = {
        "order": ["amu", "milan"],
        "replay": [[0.4, 0.1], [0.5, 0.3]],
        "finetune": [[0.4, 0.1], [0.1, 0.5]],
        "multi": [0.6, 0.4],
        "single": [0.4, 0.2],
    }
    (folder / "dice_matrices.json").write_text(json.dumps({"7": matrices}))


def report(folder: Path, run_config: Names) -> None:
    """A study, and three runs."""
    runs = [make_run(method, 0, acc) for method, acc in (("replay", 0.61), ("finetune", 0.52), ("pooled", 0.63))]
    (folder / "study").mkdir()
    write_study(folder / "study", make_study(runs))
    for run in runs:
        write_run(folder / "runs" / run.method, run)


def segment(folder: Path, run_config: Names) -> None:
    """Finished runs, of which only the model matters, one that is shipped, and two images."""
    from shared.model.model_file import model_bytes
    from shared.model.network import initial_weights

    settings = Settings.from_run_config(run_config)
    for name in ("runs/example", "runs/again", "runs/third", "package"):
        (folder / name).mkdir(parents=True)
        model = model_bytes(initial_weights(settings.network, 0), settings)
        (folder / name / "model.safetensors").write_bytes(model)
    shape, affine = grid((3.0, 3.0, 3.0))
    for name in ("sub-01_FLAIR", "sub-02_T2w"):
        write_image(folder / f"{name}.nii.gz", patient(shape, affine)[0], affine)


def check_data(folder: Path, names: Names) -> None:
    assert (folder / "check" / "check.html").is_file() and (folder / "findings.json").is_file()


def check_hospital(folder: Path, names: Names) -> None:
    assert "[Service]" in (folder / "wardround.service").read_text()
    assert list((folder / "dry").glob("*.bin"))


def check_export(folder: Path, names: Names) -> None:
    assert len(list((folder / "data").glob("sub-*/anat/*_FLAIR.nii.gz"))) == 2


def check_published(folder: Path, names: Names) -> None:
    assert (folder / "theirs" / "report.html").is_file()


def check_report(folder: Path, names: Names) -> None:
    assert (folder / "study" / "report.html").is_file() and (folder / "report" / "report.html").is_file()


def check_segment(folder: Path, names: Names) -> None:
    assert (folder / "segmentations" / "sub-01_FLAIR_lesion-mask.nii.gz").is_file()


def check_layout(folder: Path, names: Names) -> None:
    for name in ("P07_ses1_FLAIR", "P07_ses1_lesion", "P08_T2w"):
        (folder / f"{name}.nii.gz").touch()
    found = names["take_inventory"](folder, ("FLAIR", "T2w"))
    assert [(case.subject, case.contrast) for case in found.cases] == [("P07", "FLAIR")]
    assert [(remark.subject, remark.problem) for remark in found.remarks] == [("P08", True)]


def check_command(folder: Path, names: Names) -> None:
    toy = typer.Typer()
    toy.command()(names["show"])
    shown = CliRunner().invoke(toy, [str(ROOT / "scenarios" / "smoke.toml")])
    assert "steps = 8" in shown.stdout


WORKPLACES: dict[str, tuple[Callable[[Path, Names], None], Callable[[Path, Names], None]]] = {
    "nothing": (nothing, nothing),
    "data": (data, check_data),
    "hospital": (hospital, check_hospital),
    "export": (export, check_export),
    "published": (published, check_published),
    "report": (report, check_report),
    "segment": (segment, check_segment),
    "layout": (nothing, check_layout),
    "command": (nothing, check_command),
}

PARTS = [
    pytest.param(list(part), id=f"{name_of(page)}-{what}")
    for (page, what), part in groupby(
        sorted(RUN, key=lambda block: (block.page, block.what)), key=lambda block: (block.page, block.what)
    )
]


@pytest.mark.parametrize("part", PARTS)
def test_commands_do_what_the_page_says(
    part: list[Block],
    tmp_path: Path,
    run_config: Names,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The blocks of one page and workplace, one after another in one folder."""
    prepare, check = WORKPLACES[part[0].what]
    prepare(tmp_path, run_config)
    monkeypatch.setattr("scenarios.shipped.card.HERE", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    names: Names = {"__name__": "page"}
    for block in part:
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
            continue
        for words in block.commands():
            assert words[0] == "wardround", f"{block}: only wardround is run here; say why {words[0]} is not"
            here = [f"{tmp_path}{word}" if word.startswith(ELSEWHERE) else word for word in words]
            here, to = (here[:-2], here[-1]) if ">" in here else (here, None)
            monkeypatch.setattr(sys, "argv", here)
            with pytest.raises(SystemExit) as end:
                main()
            out, error = capsys.readouterr()
            assert not end.value.code, f"{block}: {' '.join(words)}: {error}"
            if to is not None:
                (tmp_path / to).write_text(out)
    check(tmp_path, names)
