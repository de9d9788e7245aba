"""The commands about a model, the shipped one or a finished run's: `wardround segment`, `realism`, `export`, `ship`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.cli.common import progress_bar, say
from shared.config.groups import DEVICE
from shared.errors import ResultsError, SettingsError, WardroundError
from shared.paths import LAUNCH, MODEL, RESULTS, private_output
from shared.text import counted, quoted

if TYPE_CHECKING:
    import torch

    from scenarios.inference.dicom_seg import SeriesJob
    from scenarios.inference.ensemble import Ensemble
    from scenarios.inference.segment import Job, Segmented

SHIPPED = "(default: the model that comes with Wardround)"
Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--model", metavar="MODEL", help=f"A run's folder, or its model file; several are averaged.  {SHIPPED}"
    ),
]
Flips = Annotated[bool, typer.Option("--flips", help="Average over mirrored images: eight times the work.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto takes CUDA where there is one.")]

SOME_FAILED = 1
"""Exit code where an image could not be segmented."""


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Skull-stripped FLAIR or T2w images (.nii, .nii.gz), or folders of one DICOM series.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the segmentations; made where missing.")],
    model: Models = None,
    flips: Flips = False,
    mask: Annotated[bool, typer.Option("--mask", help="Write a binary mask too: voxels of 0.5 or more.")] = False,
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="Write a DICOM segmentation of each series, for the PACS.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Segment MS lesions, with the model that comes with Wardround or a run's own. Not for clinical use.

    IMAGES are skull-stripped FLAIR or T2w images (.nii, .nii.gz) of any
    orientation and voxel size, or folders of one DICOM series, which are
    converted, and stripped where they show a head.

    Each image gets IMAGE_lesion.nii.gz (soft segmentation, 0 to 1, on its own
    grid), IMAGE_lesions.csv (volume and place of each lesion),
    IMAGE_lesion.png (to look at) and a line in segmentations.csv.

    Nothing is overwritten. An image that cannot be used is named, the others
    go on, and the exit code is 1.
    """
    from client.data.filenames import is_nifti
    from scenarios.inference.dicom_seg import plan_series
    from scenarios.inference.ensemble import Ensemble
    from scenarios.inference.segment import NOT_CLINICAL, SUMMARY, not_by_name, plan_jobs

    # All that can be wrong with the request is said before anything is read.
    _check_no_models(images)
    planned, series, failed = plan_series(images, output, dicom_seg)
    jobs = plan_jobs([image for image in planned if is_nifti(image.name)], output, mask)
    opened, where = Ensemble.opened(model or [], flips), _device_named(device)
    failed += [not_by_name(image) for image in planned if not is_nifti(image.name)]
    if jobs:
        private_output(output)
        failed += _follow(opened.to(where), jobs, where, series)
    if len(failed) < len(images):
        good = counted(len(images) - len(failed), "image")
        say(f"\n{good} segmented, {NOT_CLINICAL}: see {output / SUMMARY}")
    if failed:
        typer.echo(f"wardround: {len(failed)} of {counted(len(images), 'image')} could not be segmented:", err=True)
        for reason in failed:
            typer.echo(f"  {reason}", err=True)
        raise typer.Exit(SOME_FAILED)


def export(
    context: typer.Context,
    output: Annotated[Path, typer.Option(metavar="DIR", help="New or empty folder for the bundle.")],
    model: Annotated[Path | None, typer.Option(metavar="RUN", help=f"The folder of a finished run.  {SHIPPED}")] = None,
) -> None:
    """Export a model as a MONAI bundle with a model card: that of a finished run, or the shipped one.

    The bundle segments a folder of images by `python -m monai.bundle run`, without Wardround. Not for clinical use.
    """
    from scenarios.inference.monai_bundle import export_bundle
    from scenarios.shipped.card import shipped_model

    _check_named(context.args)
    folder = export_bundle(model or shipped_model(), output)
    say(f"bundle      {folder}")
    say(f"model card  {folder / 'docs' / 'README.md'}")
    say(f"run it      cd {quoted(folder)} && python -m monai.bundle run --config_file configs/inference.json \\")
    say("              --bundle_root . --dataset_dir IMAGES --output_dir OUT")


def realism(
    context: typer.Context,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="FOLDER",
            help="A hospital's labelled, skull-stripped FLAIR and T2w images: BIDS. Or NAME=FOLDER; may be repeated.",
            show_default=False,
        ),
    ],
    model: Models = None,
    flips: Flips = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the scores as JSON.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="Write a page with the worst slices, which are patients'.")
    ] = None,
    device: Device = "auto",
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Let in patients without any lesion.")] = False,
    labels: Annotated[str, typer.Option(metavar="NAME", help="Which labels, where an image has several.")] = "",
    lesion_value: Annotated[
        float | None, typer.Option(metavar="X", help="The value that means lesion in labels of several structures.")
    ] = None,
) -> None:
    """Score a model on labelled images that it never learnt from, such as real patients.

    Each FLAIR and T2w image of FOLDER that has a lesion label is segmented as
    `wardround segment` does it, and compared as in a run: Dice, F1 of lesions,
    recall and precision, by hospital and contrast, with intervals over patients.

    Images without label, or that `wardround hospital check` would set aside, are
    named and skipped; patients without lesions, whose Dice is 1 or 0, are named
    and left out of the means. Nothing in FOLDER is changed.
    """
    from client.data.inventory import LabelChoice
    from scenarios.cli.validation import Outputs, tell_validation
    from scenarios.inference.ensemble import Ensemble
    from scenarios.inference.external_validation import Ask, name_hospitals

    _check_named(context.args)
    outputs = Outputs(json_file, html)
    outputs.check()
    hospitals, opened, where = name_hospitals(data), Ensemble.opened(model or [], flips), _device_named(device)
    opened.to(where)
    ask = Ask(allow_empty, LabelChoice(labels, lesion_value), slices=html is not None)
    outputs.write(tell_validation(opened, hospitals, where, ask), _called(model or [], flips))


def _called(models: list[Path], flips: bool) -> str:
    """What segmented, in words."""
    named = ", ".join(map(str, models)) or "the model that comes with Wardround"
    return f"{named}, over mirror images" if flips else named


def ship(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.", show_default=False)],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for weights and card; made where missing.")],
    commit: Annotated[str, typer.Option(help="Of the checkout that trained it.  (default: this one's)")] = "",
    device: Device = "auto",
) -> None:
    """Make the model that comes with Wardround out of a run on simulated patients.

    Weights become float16, and the threshold is set on the run's own simulated test patients. DIR gets
    model.safetensors and card.json; scenarios/shipped of a checkout is where Wardround looks for them.
    """
    from scenarios.inference.ship import ship as ship_run

    card = ship_run(run, output, _device_named(device), say, commit)
    say(f"threshold {card.threshold:g}, {card.bytes / 1e6:.1f} MB, SHA-256 {card.sha256}")
    for contrast, one in card.figures.items():
        say(
            f"{contrast:<8}  Dice {one.dice:.3f} (as trained {one.dice_as_trained:.3f}), lesion F1 "
            f"{one.lesion_f1:.3f}, {counted(one.images, 'simulated image')}"
        )
    say(f"use it: --model {quoted(output)}, or start={quoted(output)}")


def _check_no_models(images: list[Path]) -> None:
    """Raise `SettingsError` where a run's folder, or a model, stands among the images."""
    for path in images:
        if path.suffix == ".safetensors" or any((path / name).exists() for name in (MODEL, RESULTS, LAUNCH)):
            raise SettingsError(
                f"{path}, among the images, is a model or the folder of a run: name it by --model {quoted(path)}"
            )


BY_OPTIONS = (export, realism)
"""Commands without arguments; they are let in to say how a model is named, which stood there before `--model`."""


def _check_named(arguments: list[str]) -> None:
    """Raise `SettingsError` where something stands without an option."""
    if arguments:
        named = quoted(Path(arguments[0]))
        raise SettingsError(f"{arguments[0]} stands without an option: a model is named by --model {named}")


def _device_named(name: str) -> "torch.device":
    """The device that `--device` names. Raises `SettingsError` where it is not here."""
    from shared.model.device import choose_device

    if not re.fullmatch(DEVICE, name):
        raise SettingsError(f"--device {name}: choose auto, cpu, cuda or cuda:N")
    device = choose_device(name)
    import torch

    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"--device {name}: {counted(torch.cuda.device_count(), 'CUDA device')} here; choose auto")
    return device


def _follow(
    ensemble: "Ensemble", jobs: "tuple[Job, ...]", device: "torch.device", series: "dict[Path, SeriesJob]"
) -> list[str]:
    """Segment all, with a progress bar on a terminal and a line an image; returns why some could not be."""
    failed: list[str] = []
    with progress_bar("segmenting", len(jobs)) as show:
        for done, job in enumerate(jobs):
            show(done, job.image.name)
            try:
                say(_line(_one(ensemble, job, device, series.get(job.image))))
            except ResultsError:
                raise  # the disk is full for the others too
            except WardroundError as error:
                failed.append(str(error))
                say(f"{job.image.name}: left out: {failed[-1]}")
    return failed


def _one(ensemble: "Ensemble", job: "Job", device: "torch.device", series: "SeriesJob | None") -> "Segmented":
    from scenarios.inference.dicom_seg import bring_image, write_dicom_seg
    from scenarios.inference.overlay import draw_overlay
    from scenarios.inference.segment import NOT_CLINICAL, add_to_summary, segment_image, unwritable
    from shared.files import write_whole

    if series is not None:
        say("\n".join(bring_image(series)))
    one = segment_image(ensemble, job, device)
    title = f"{job.image.name}   {one.ml:.2f} ml in {counted(len(one.lesions), 'lesion')}"
    try:
        write_whole(job.picture, draw_overlay(one.view, title, f"soft segmentation, {NOT_CLINICAL}"))
    except OSError as error:
        raise unwritable(job.picture.parent, error) from None
    add_to_summary(job.picture.parent, one)
    if series is not None:
        write_dicom_seg(series, job)
    return one


def _line(one: "Segmented") -> str:
    said = [f"{one.job.image.name}: {one.ml:.2f} ml in {counted(len(one.lesions), 'lesion')}: {one.job.soft}"]
    return "\n".join([*said, *(f"  warning: {warning}" for warning in one.warnings)])
