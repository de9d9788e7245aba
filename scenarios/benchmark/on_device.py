"""`wardround bench --device`: figures of one device one after another, and what they say of the paper's scenario."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
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
    ProductShare,
    StageShare,
    StepTime,
    Volumes,
    hospital_volumes,
    measure_evaluation,
    measure_first_step,
    measure_product,
    measure_stage,
    measure_step,
    paper_settings,
)
from scenarios.benchmark.harness import Conditions, Measured, this_machine
from scenarios.benchmark.precision import PrecisionGap, measure_precision
from scenarios.benchmark.runner import Benchmark
from scenarios.benchmark.targets import Figure
from scenarios.benchmark.whole_run import run_whole
from scenarios.run_config import app_folder
from scenarios.simulation.hospitals import prepare_hospitals
from scenarios.simulation.sites import simulated_site
from scenarios.study.config import read_study_file
from scenarios.study.plan import new_plan
from shared.clock import utc_now
from shared.config.settings import Settings
from shared.cores import cores_here
from shared.model.weights import Weights
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


class DeviceBench:
    """What is measured of a device; a part that several figures stand on is measured once, when the first needs it."""

    def __init__(self, conditions: Conditions, device: str) -> None:
        self._conditions, self._device = conditions, device
        self.settings = paper_settings(conditions, device, method="replay", order="descending", centers=CENTER)
        # Tested are networks that find lesions, which this short a training gives with another loss alone.
        self._taught = self.settings.with_changes({"activation": "sigmoid", "loss": "dice-ce", "learning-rate": 2e-3})
        self._steps, self._tests = conditions.size(STEPS, 8), conditions.size(TESTS, 3)

    @cached_property
    def _volumes(self) -> tuple[Volumes, Volumes]:
        return hospital_volumes(self.settings, self._conditions.folder)

    @cached_property
    def step(self) -> StepTime:
        """A step of the paper's training."""
        return measure_step(self.settings, self._volumes[0], self._steps)[0]

    @cached_property
    def _by_channel(self) -> tuple[StepTime, Weights]:
        return measure_step(self._taught.with_changes({"norm": "channel"}), self._volumes[0], self._steps)

    @property
    def step_by_channel(self) -> StepTime:
        """The same with channel norm."""
        return self._by_channel[0]

    @property
    def product(self) -> ProductShare:
        """The step's arithmetic against a matrix product."""
        return measure_product(self.settings, self.step, self._conditions.size((4096, 8192), (64, 96)))

    @cached_property
    def evaluation(self) -> EvaluationTime:
        """Tests after a training with instance norm."""
        _, weights = measure_step(self._taught, self._volumes[0], self._steps)
        return measure_evaluation(self._taught, weights, self._volumes[1], self._tests)

    @property
    def evaluation_by_channel(self) -> EvaluationTime:
        """The same with channel norm."""
        settings = self._taught.with_changes({"norm": "channel"})
        return measure_evaluation(settings, self._by_channel[1], self._volumes[1], self._tests)

    @cached_property
    def stage(self) -> StageShare:
        """A stage from message to reply."""
        return measure_stage(self._conditions, self.settings, self._volumes[0])

    @property
    def precision(self) -> PrecisionGap:
        """The device's precision against float32."""
        return measure_precision(self._conditions, self._device)

    @cached_property
    def start(self) -> FirstStep:
        """The start of a run."""
        _ = self._volumes  # they are in place when it starts
        return measure_first_step(self._conditions, self.settings)

    @cached_property
    def parts(self) -> Parts:
        """What a run is made of."""
        step, test = self.step, self.evaluation
        return Parts(self.start.seconds, step.seconds / step.steps, self.stage.beside, test.seconds / test.volumes)

    @property
    def paper_projected(self) -> Projected:
        """The paper's replay run over the centers by size."""
        whole = paper_settings(self._conditions, self._device, method="replay", order="descending")
        return Projected(self.parts, course_size(whole))

    @property
    def study_projected(self) -> ProjectedStudy:
        """The paper's whole experiment."""
        sizes = study_sizes(self._conditions, self._device)
        return ProjectedStudy(tuple(self.parts.of(size) for size in sizes))

    @cached_property
    def paper_data(self) -> Took:
        """The data of the paper's scenario."""
        return measure_data(paper_settings(self._conditions, self._device))

    @property
    def paper(self) -> Took:
        """The paper's scenario as it stands, its data in place."""
        _ = self.paper_data  # in place when it starts
        run = run_whole(paper_settings(self._conditions, self._device), self._conditions.folder / "paper")
        scored = ", ".join(f"{word} {value}" for word, value in (("ACC", run.results.acc), ("BWT", run.results.bwt)))
        return Took(run.seconds, f"{scored}; {run.startup:.1f} s to the first train message")


MEASURES: Mapping[str, Callable[[DeviceBench], Measured]] = {
    "step_ms": lambda bench: bench.step,
    "step_ms_channel": lambda bench: bench.step_by_channel,
    "product_share": lambda bench: bench.product,
    "evaluation_ms": lambda bench: bench.evaluation,
    "evaluation_ms_channel": lambda bench: bench.evaluation_by_channel,
    "stage_share": lambda bench: bench.stage,
    "precision_gap": lambda bench: bench.precision,
    "first_step_s": lambda bench: bench.start,
    "paper_projected_s": lambda bench: bench.paper_projected,
    "study_projected_h": lambda bench: bench.study_projected,
    "paper_data_s": lambda bench: bench.paper_data,
    "paper_s": lambda bench: bench.paper,
}


def measure_device(
    figures: Iterable[Figure], device: str, folder: Path, quick: bool
) -> Iterator[tuple[Figure, Benchmark]]:
    """Measure figures of a device one after another; each comes with all that is known so far.

    What is written on the way goes to `folder`. Raises `WardroundError` where a figure cannot be measured.
    """
    bench = DeviceBench(Conditions(folder, quick), device)
    machine, settings = this_machine(), bench.settings.to_run_config()
    found: dict[str, Measured] = {}
    for figure in figures:
        found[figure.name] = MEASURES[figure.name](bench)
        yield figure, Benchmark(dict(found), {}, machine, settings, quick)


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
