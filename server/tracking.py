"""Tracking: what a run reaches, stage by stage, for TensorBoard or MLflow to show.

Everything lies in `tracking/` in the run's results folder, and nothing is sent anywhere. What is
tracked is a copy of what the journal says, so a run that goes on writes all of it anew, and no
point is there twice. It holds means over a center's patients, as R does, and no path.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from shared.config.settings import RunConfig, Settings
from shared.errors import SettingsError
from shared.log import say
from shared.results import RunResults

if TYPE_CHECKING:  # for the command line, which checks settings without any torch
    from server.journal.records import StageRecord

FOLDER = "tracking"
"""In a results folder."""

SUMMARY = {"acc", "acc_evaluators", "bwt", "bwt_over_k", "forgetting", "learning_accuracy"}
"""Of `results.json`: what is tracked of the whole run, where it has it."""


class Sink(Protocol):
    """What keeps a run's figures."""

    def stage(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of a stage or round, counted from 1."""

    def end(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of the whole run; `step` was its last stage."""

    def close(self) -> None:
        """Take no more; without an `end` before, the run was interrupted."""


class TensorBoard:
    """Event files, for `tensorboard --logdir`."""

    def __init__(self, folder: Path, settings: RunConfig) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if folder.exists():
            shutil.rmtree(folder)
        # A TensorBoard that looks on meanwhile forgets by `purge_step` what it read in files that are gone.
        self._writer: Any = SummaryWriter(str(folder), purge_step=0)
        self._settings = dict(settings)

    def stage(self, step: int, figures: Mapping[str, float]) -> None:
        """One scalar for each figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, step: int, figures: Mapping[str, float]) -> None:
        """The settings as hyper-parameters, and what the run reached with them."""
        self._writer.add_hparams(self._settings, dict(figures), run_name=".", global_step=step)

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


class MLflow:
    """A SQLite database with one experiment and one run, for `mlflow ui --backend-store-uri`."""

    def __init__(self, folder: Path, settings: RunConfig) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric = Metric
        folder.mkdir(parents=True, exist_ok=True)
        # Given for both stores, so that MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI count for nothing.
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
        known = self._client.get_experiment_by_name("wardround")
        experiment = (
            known.experiment_id
            if known
            else self._client.create_experiment("wardround", artifact_location=(folder / "artifacts").as_uri())
        )
        for earlier in self._client.search_runs([experiment]):
            self._client.delete_run(earlier.info.run_id)
        name = f"{settings['method']}-{settings['order']}-seed{settings['seed']}"
        self._run: str = self._client.create_run(experiment, run_name=name).info.run_id
        self._client.log_batch(self._run, params=[Param(key, str(value)) for key, value in settings.items()])
        self._ended = False

    def stage(self, step: int, figures: Mapping[str, float]) -> None:
        """One metric for each figure."""
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in figures.items()])

    def end(self, step: int, figures: Mapping[str, float]) -> None:
        """What the run reached, beside the settings that are there already."""
        self.stage(step, figures)
        self._ended = True

    def close(self) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._run, status="FINISHED" if self._ended else "FAILED")


SINKS: Mapping[str, Callable[[Path, RunConfig], Sink]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


class Tracking:
    """A run's tracking, if it has any: what goes wrong with it is said once, and never ends the run."""

    def __init__(self, open_sink: Callable[[], Sink] | None = None) -> None:
        self._sink: Sink | None = None
        with self._tolerant():
            self._sink = open_sink() if open_sink else None

    def stage(self, records: "Sequence[StageRecord]") -> None:
        """Track the last of the stages that a run has finished so far."""
        with self._tolerant():
            if self._sink:
                self._sink.stage(len(records), stage_figures(records))

    def end(self, stages: int, results: RunResults) -> None:
        """Track what the whole run reached, as `results.json` has it."""
        with self._tolerant():
            if self._sink:
                known = results.model_dump(include=SUMMARY, exclude_none=True)
                self._sink.end(stages, {f"final/{key.replace('_', '-')}": value for key, value in known.items()})

    def close(self) -> None:
        """The run has ended, well or not."""
        with self._tolerant():
            if self._sink:
                self._sink.close()

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        # Whatever a package for looking at a run runs into: the run is worth more.
        except Exception as error:
            self._sink = None
            reason = str(error).strip().partition("\n")[0]
            say(f"tracking has stopped, the run goes on ({type(error).__name__}: {reason}); a resumed run tracks anew")


OFF = Tracking()
"""No tracking."""


def check_tracking(settings: Settings) -> None:
    """Raise `SettingsError` where the package that is to track is missing."""
    package = settings.run.tracking
    if package != "off" and find_spec(package) is None:
        raise SettingsError(
            f"tracking = {package!r} needs a package that the coordinator's Python lacks: install the extra "
            "'tracking', in a checkout by pip install -e '.[tracking]', or set tracking = 'off'"
        )


@contextmanager
def tracked(settings: Settings, results: Path) -> Iterator[Tracking]:
    """The tracking that the settings ask for, in a run's results folder, as long as the block lasts."""
    kind = settings.run.tracking
    science = settings.science
    tracking = OFF if kind == "off" else Tracking(lambda: SINKS[kind](results / FOLDER / kind, science))
    try:
        yield tracking
    finally:
        tracking.close()


def stage_figures(records: "Sequence[StageRecord]") -> dict[str, float]:
    """What the last of these stages reached and cost, by name.

    `dice/CENTER` is the row of R; `dice-seen/mean` its mean over the centers that the model was
    trained at so far, as far as they were tested. Seconds are those of the stage, exemplars and
    bytes what is handed on after it.
    """
    record = records[-1]
    figures = {f"dice/{center}": dice for center, dice in record.row.items()}
    if seen := [dice for center, dice in record.row.items() if center in seen_centers(records)]:
        figures["dice-seen/mean"] = fmean(seen)
    return figures | {
        "training/loss": record.figures.final_loss,
        "seconds/training": record.figures.seconds,
        "seconds/testing": record.evaluating_seconds,
        "seconds/transit": record.transit.seconds,
        "memory/exemplars": record.memory_exemplars,
        "memory/bytes": record.memory_bytes,
        "state/bytes": record.state_bytes,
    }


def seen_centers(records: "Sequence[StageRecord]") -> set[str]:
    """The centers that the last stage's model was trained at, since it was a fresh network."""
    seen: set[str] = set()
    for record in reversed(records):
        seen |= set(record.stage.centers)
        if record.stage.start == "initial":
            break
    return seen
