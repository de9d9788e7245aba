"""`wardround bench --device`: figures of one device one after another, and what they say of the paper's scenario."""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from client.data.inventory import Case
from client.data.layouts import find_cases
from client.data.volume_cache import judge
from scenarios.benchmark.course_size import CourseSize, course_size
from scenarios.benchmark.device_parts import (
    CENTER,
    STEPS,
    TESTS,
    EvaluationTime,
    FirstStep,
    StageShare,
    StepTime,
    hospital_volumes,
    measure_evaluation,
    measure_first_step,
    measure_product,
    measure_stage,
    measure_step,
    paper_settings,
)
from scenarios.benchmark.harness import Conditions, Measured, this_machine
from scenarios.benchmark.precision import measure_precision
from scenarios.benchmark.runner import Benchmark
from scenarios.benchmark.targets import DEVICE_FIGURES, Figure
from scenarios.benchmark.whole_run import run_whole
from scenarios.processes.resources import cores_here
from scenarios.run_config import app_folder
from scenarios.simulation.hospitals import prepare_hospitals
from scenarios.simulation.sites import simulated_site
from scenarios.study.config import read_study_file
from scenarios.study.plan import new_plan
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.paths import cache_folder


@dataclass(frozen=True)
class Parts:
    """What a run of the paper's size is made of, in seconds."""

    start: float
    """To the first step."""
    step: float
    beside: float
    """Of a stage beside its computing."""
    test: float
    """Of a volume."""

    def of(self, size: CourseSize) -> float:
        """The seconds of a run."""
        return self.start + self.beside * size.stages + self.step * size.steps + self.test * size.tests


@dataclass(frozen=True)
class Projected:
    """Seconds of a run, reckoned from the parts."""

    parts: Parts
    size: CourseSize

    @property
    def value(self) -> float:
        """Seconds."""
        return self.parts.of(self.size)

    @property
    def detail(self) -> str:
        """What it was made from."""
        parts, size = self.parts, self.size
        return (
            f"{parts.start:.1f} s of start, {size.steps} steps of {1000 * parts.step:.1f} ms, {size.tests} tests of "
            f"{1000 * parts.test:.0f} ms, {size.stages} stages with {parts.beside:.1f} s beside"
        )


@dataclass(frozen=True)
class ProjectedStudy:
    """Hours of the paper's whole experiment, its runs one after another."""

    seconds: tuple[float, ...]
    """Of each run."""

    @property
    def value(self) -> float:
        """Hours."""
        return sum(self.seconds) / 3600

    @property
    def detail(self) -> str:
        """What it was made from."""
        return f"{len(self.seconds)} runs of {min(self.seconds):.0f} to {max(self.seconds):.0f} s"


@dataclass(frozen=True)
class Took:
    """Something that was done once, from its start to its end."""

    seconds: float
    what: str

    @property
    def value(self) -> float:
        """Seconds."""
        return self.seconds

    @property
    def detail(self) -> str:
        """What it was."""
        return self.what


def measure_device(device: str, folder: Path, quick: bool, paper: bool) -> Iterator[tuple[Figure, Benchmark]]:
    """Measure all figures of a device; each comes with all that is known so far.

    What is written on the way goes to `folder`. `paper` also runs the paper's scenario. Raises `WardroundError`
    where a figure cannot be measured.
    """
    conditions = Conditions(folder, quick)
    machine, settings = this_machine(), paper_settings(conditions, device).to_run_config()
    known = {figure.name: figure for figure in DEVICE_FIGURES}
    found: dict[str, Measured] = {}
    for name, measured in _figures(conditions, device, paper):
        found[name] = measured
        yield known[name], Benchmark(dict(found), {}, machine, settings, quick)


def _figures(conditions: Conditions, device: str, paper: bool) -> Iterator[tuple[str, Measured]]:
    settings = paper_settings(conditions, device, method="replay", order="descending", centers=CENTER)
    training, volumes = hospital_volumes(settings, conditions.folder)
    steps, tests = conditions.size(STEPS, 8), conditions.size(TESTS, 3)

    step, _ = measure_step(settings, training, steps)
    yield "step_ms", step
    # Tested are networks that find lesions, which this short a training gives with another loss alone.
    taught = settings.with_changes({"activation": "sigmoid", "loss": "dice-ce", "learning-rate": 2e-3})
    by_channel = taught.with_changes({"norm": "channel"})
    step_by_channel, weights_by_channel = measure_step(by_channel, training, steps)
    yield "step_ms_channel", step_by_channel
    yield "product_share", measure_product(settings, step, conditions.size((4096, 8192), (64, 96)))
    evaluation = measure_evaluation(taught, measure_step(taught, training, steps)[1], volumes, tests)
    yield "evaluation_ms", evaluation
    yield "evaluation_ms_channel", measure_evaluation(by_channel, weights_by_channel, volumes, tests)
    stage = measure_stage(conditions, settings, training)
    yield "stage_share", stage
    yield "precision_gap", measure_precision(conditions, device)
    start = measure_first_step(conditions, settings)
    yield "first_step_s", start
    parts = _parts(start, step, stage, evaluation)
    whole = paper_settings(conditions, device, method="replay", order="descending")
    yield "paper_projected_s", Projected(parts, course_size(whole))
    yield "study_projected_h", ProjectedStudy(tuple(parts.of(size) for size in study_sizes(conditions, device)))
    if paper:
        own = paper_settings(conditions, device)
        yield "paper_data_s", measure_data(own)
        run = run_whole(own, conditions.folder / "paper")
        scored = ", ".join(f"{word} {value}" for word, value in (("ACC", run.results.acc), ("BWT", run.results.bwt)))
        yield "paper_s", Took(run.seconds, f"{scored}; {run.startup:.1f} s to the first train message")


def _parts(start: FirstStep, step: StepTime, stage: StageShare, evaluation: EvaluationTime) -> Parts:
    return Parts(start.seconds, step.seconds / step.steps, stage.beside, evaluation.seconds / evaluation.volumes)


def study_sizes(conditions: Conditions, device: str) -> list[CourseSize]:
    """What each run of scenarios/studies/paper.toml has to do."""
    wish = read_study_file(app_folder() / "scenarios" / "studies" / "paper.toml")
    common = paper_settings(conditions, device).to_run_config()
    same = {key: common[key] for key in common if key not in ("method", "seed", "order", "centers")}
    return [course_size(cell.settings.with_changes(same)) for cell in new_plan(wish, 1, utc_now).cells()]


def measure_data(settings: Settings) -> Took:
    """Make the hospitals of a scenario and prepare their volumes, with all cores; nothing is done twice."""
    begun = time.perf_counter()
    prepare_hospitals(settings, lambda line: None)
    simulated = time.perf_counter() - begun
    folders = [simulated_site(center, settings).data.folder for center in settings.run.centers]
    cases = [case for folder in folders for case in find_cases(folder, settings.data.contrasts)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores_here(), mp_context=context) as pool:
        work = [(case, settings.data.spacing, cache_folder(settings.data.cache_dir)) for case in cases]
        refused = sum(not usable for usable in pool.map(_prepare, work, chunksize=2))
    seconds = time.perf_counter() - begun
    return Took(
        seconds,
        f"{len(cases)} images, simulated in {simulated:.0f} s, {refused} of them without use; what was there was kept",
    )


def _prepare(work: tuple[Case, float, Path]) -> bool:
    """Whether a case can be used; its volume is prepared where it can."""
    return judge(*work).refused is None
