"""The model card: whose data a model learnt from and how, what it reached, and what it is not for."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from scenarios.runner.launch_record import HowLaunched
from shared.config.settings import CIRCUMSTANCES
from shared.methods import spec_of
from shared.metrics.scores import Scores
from shared.metrics.transfer import NOT_LEARNT
from shared.model.model_file import Model
from shared.result_notes import collapsed_lines, not_learnt_lines, passed_over_lines, restarted_lines
from shared.results import CenterScores, RunResults


def model_card(run: Path, results: RunResults, model: Model) -> str:
    """The card of a run's final model, as Markdown. Raises `ResultsError` where `launch.json` is damaged."""
    parts = [
        overview(model, results.versions["wardround"]),
        _data(run, results),
        _training(results),
        _performance(results, model),
        use(model),
        LIMITS,
        LICENCE,
    ]
    return "\n\n".join(parts) + "\n"


def overview(model: Model, version: str) -> str:
    """What the model is, by which version of Wardround."""
    parameters = sum(value.numel() for value in model.network.parameters())
    contrasts = " or ".join(model.inference.contrasts)
    return f"""# MS lesion segmentation, made with Wardround

**Not a medical device, and not for clinical use.**

Soft segmentation (0 to 1, lesion from 0.5 on) of multiple-sclerosis lesions in one skull-stripped {contrasts} image.
A residual 3D U-Net with {parameters:,} parameters (MONAI's `UNet`, {model.network.settings.features} features,
three down-samplings, {model.network.settings.activation}), on windows of {model.inference.patch_size} voxels along each
edge at {model.inference.spacing:g} mm. Made by Wardround {version}."""


def _data(run: Path, results: RunResults) -> str:
    trained = {stage.center: stage.training_subjects for stage in results.stages}
    rows = [
        [center, trained.get(center, "in all"), *_tested(results, center)]
        for center in dict.fromkeys([*results.order, *trained])
        if center != "all"
    ]
    if "all" in trained:
        rows.append(["all", trained["all"], "", ""])
    rows += [[center, "never", *_tested(results, center)] for center in results.evaluators]
    return f"""## Data

{_origin(run, results)}

{table(["center", "trained on (subjects)", "tested on (subjects)", "contrasts of the tests"], rows)}

The centers stand in the order of the visits. Subjects are divided into training and test by the seed, whole subjects
at a time. {_set_aside(results)}"""


def _origin(run: Path, results: RunResults) -> str:
    if digest := results.settings.get("start-digest"):
        return (
            f"{_patients(run, results, '')}\n\nIt did not begin with a fresh network, but with the model of SHA-256 "
            f"`{digest}`: what that one has seen, its own card says."
        )
    return _patients(run, results, " The model has seen no patient, and its scores say nothing about any hospital.")


def _patients(run: Path, results: RunResults, simulated: str) -> str:
    """Whose data the run trained on; `simulated` is what follows where they are nobody's."""
    launched = HowLaunched.load(run)
    folder = str(results.settings["data-dir"])
    if launched is not None and launched.superlink is not None:
        return "Data of the hospitals that joined the run, each at its own place; they were not collected."
    if folder:
        return f"Data sets of `{Path(folder).name}`, one a center, in a simulation on one machine."
    if launched is None:
        return "Whether these were simulated patients or those of hospitals that joined was not recorded."
    return f"**Simulated patients**: digital phantoms made from the MNI152 tissue maps.{simulated}"


def _tested(results: RunResults, center: str) -> tuple[object, str]:
    cases = [case for case in results.final_images if case.center == center]
    if cases:
        return len({case.subject for case in cases}), ", ".join(sorted({case.contrast for case in cases}))
    means = [mean for mean in _last_means(results) if mean.center == center]
    return (means[0].subjects, "not reported") if means else ("not tested", "")


def _set_aside(results: RunResults) -> str:
    number = sum(sum(stage.set_aside.values()) for stage in results.stages)
    passed = " ".join(f"{line}." for line in passed_over_lines(results.passed_over))
    aside = f"Set aside in training because they could not be used: {number}." if number else "None was set aside."
    return f"{aside} {passed}".strip()


def _training(results: RunResults) -> str:
    # Where and how patiently it ran is nobody's business, and may name folders and people.
    settings = "\n".join(f"{key} = {value!r}" for key, value in results.settings.items() if key not in CIRCUMSTANCES)
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    return f"""## Training

Method `{results.method}`: {spec_of(results.method).about}. Seed {results.seed}. {versions}.

<details><summary>All settings that decide what is computed</summary>

```
{settings}
```

</details>"""


def _performance(results: RunResults, model: Model) -> str:
    order = results.order
    transfer = "" if results.bwt is None else f" Backward transfer (BWT): {results.bwt:+.3f}."
    parts = [
        "## Performance",
        "R, the mean test Dice at each center (columns) after the stage at each center (rows). The last row is this "
        "model's.",
        _matrix(results, order, results.R),
        f"ACC, the mean of the last row: {number(results.acc)}.{transfer}",
        *(f"**{line}**" for line in (*not_learnt_lines(results), *collapsed_lines(results))),
        *(f"{line[0].upper()}{line[1:]}." for line in restarted_lines(results)),
        *_elsewhere(results),
    ]
    parts += _by_contrast(model)
    if spread := _spread(results):
        parts += [
            "Dice of the last stage's test images, one by one:",
            table(["tested at", "images", "least", "median", "mean", "greatest"], spread),
        ]
    if kept := [mean.center for mean in _last_means(results)]:
        parts.append(f"Their policy keeps the scores of single subjects: {', '.join(kept)}.")
    if scores := _scores(results):
        parts += [
            "All scores, averaged over images, then over centers (definitions: `shared/metrics/scores.py` of "
            "Wardround; a lesion is hit by one voxel in common, 26-connectivity; HD95 of a missed case is the "
            "image's diagonal):",
            table(["score", "mean"], scores),
        ]
    if missing := results.missing:
        cells = ", ".join(f"{cell.center} after stage {cell.stage + 1}" for cell in missing)
        parts.append(f"Not tested, and left out of the means: {cells}.")
    return "\n\n".join(parts)


def _matrix(results: RunResults, centers: Sequence[str], scores: Sequence[Sequence[float | None]]) -> str:
    """Scores after each stage (rows) at centers (columns)."""
    rows = [[stage.center, *map(number, row)] for stage, row in zip(results.stages, scores, strict=True)]
    return table(["trained at", *centers], rows)


def _by_contrast(model: Model) -> list[str]:
    """The mean Dice of each contrast, and a warning of those that it is not for."""
    scores = model.inference.dice_by_contrast
    if not scores:
        return []
    lost = [
        f"**It finds next to nothing in {name}: not for {name} images.**"
        for name, d in scores.items()
        if d < NOT_LEARNT
    ]
    untested = [
        f"**No test score of {name} is known: check what it finds there.**"
        for name in model.inference.contrasts
        if name not in scores
    ]
    means = ", ".join(f"{name} {number(dice)}" for name, dice in scores.items())
    return [" ".join([f"Mean Dice over the last stage's test images, by contrast: {means}.", *lost, *untested])]


def _elsewhere(results: RunResults) -> list[str]:
    """What the evaluators measured."""
    if not results.evaluators:
        return []
    return [
        "Test Dice at evaluators: hospitals whose data no stage was trained on. Mean of the last row: "
        f"{number(results.acc_evaluators)}; it is in none of the other means.",
        _matrix(results, results.evaluators, results.R_evaluators),
    ]


def _spread(results: RunResults) -> list[list[object]]:
    rows: list[list[object]] = []
    for center in (*results.order, *results.evaluators):
        dice = [case.dice for case in results.final_images if case.center == center]
        if dice:
            figures = (min(dice), median(dice), fmean(dice), max(dice))
            rows.append([center, len(dice), *(number(figure) for figure in figures)])
    return rows


def _scores(results: RunResults) -> list[list[object]]:
    by_center: dict[str, list[dict[str, float]]] = {}
    for scored in [*results.final_images, *_last_means(results)]:
        if scored.center in results.evaluators:
            continue
        by_center.setdefault(scored.center, []).append(scored.scores)
    return [
        [name, number(fmean(fmean(scores[name] for scores in of_center) for of_center in by_center.values()))]
        for name in Scores.model_fields
        if by_center and all(name in scores for of_center in by_center.values() for scores in of_center)
    ]


def _last_means(results: RunResults) -> list[CenterScores]:
    last = len(results.stages) - 1
    return [mean for mean in results.mean_scores if mean.stage == last]


def use(model: Model) -> str:
    """How a bundle of it is run."""
    return f"""## Use

In the bundle's folder, with MONAI, nibabel, scipy, fire and pytorch-ignite (`configs/metadata.json` has versions):

```
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir IMAGES --output_dir OUT
```

IMAGES is a folder of skull-stripped {" or ".join(model.inference.contrasts)} images (`.nii.gz`, `.nii`), of any
orientation and voxel size. For each one, `OUT/NAME_lesion.nii.gz` is its soft segmentation on its own grid, the same
as that of `wardround segment` but for rounding."""


LIMITS = """## Limits

- Not validated for any diagnosis or treatment decision, and not for clinical use.
- Expects skull-stripped adult brains; scalp and eyes are taken for lesions. Other contrasts than those above, other
  diseases with white-matter lesions, and scanners unlike those of the centers may give anything.
- Test sets of a few subjects make single cells of R noisy.
- A model may remember something of those it learnt from: pass it on only where the centers' agreements allow it."""

LICENCE = """## Licence

The configuration in this bundle is Apache-2.0 (`LICENSE`). The weights were learnt from the data named above: under
which terms they may be passed on, those who gave the data decide."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def number(value: float | None) -> str:
    """As a card has it."""
    return "-" if value is None else f"{value:.3f}"
