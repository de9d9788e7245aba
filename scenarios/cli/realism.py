"""The command `wardround realism`."""

from pathlib import Path
from typing import Annotated

import typer

from scenarios.cli.json_option import write_json
from shared.errors import ResultsError


def realism(
    model: Annotated[Path, typer.Argument(help="A run's folder, or its model file.", show_default=False)],
    data: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Labelled, skull-stripped FLAIR and T2w images: BIDS.", show_default=False),
    ],
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the scores as JSON.")] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Let in patients without any lesion.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes CUDA where it is there.")] = "auto",
) -> None:
    """Score a model on labelled images that it never learnt from, such as real patients.

    MODEL is a run's folder or its model file. Each FLAIR and T2w image of FOLDER that has a lesion label is
    segmented as `wardround segment` does it, and compared as in a run: Dice, and F1 of lesions. Images without
    label, or that `wardround hospital check` would set aside, are named and skipped. Nothing in FOLDER is changed.
    """
    from scenarios.cli.model import device_named
    from scenarios.inference.external_validation import HEADING, line_of, means_of, notes, validate
    from shared.model.model_file import open_model

    if json_file is not None and not json_file.parent.is_dir():
        raise ResultsError(f"{json_file} cannot be written (no such folder): make {json_file.parent} first")
    opened, where = open_model(model), device_named(device)
    opened.network.to(where)
    typer.echo(HEADING)
    found = validate(opened, data, where, lambda one: typer.echo(line_of(one)), allow_empty)
    typer.echo("\n".join(means_of(found)))
    for text in notes(found.scored):
        typer.echo(f"warning: {text}")
    for reason in found.skipped:
        typer.echo(f"skipped: {reason}")
    if json_file is not None:
        write_json(json_file, found.to_json())
