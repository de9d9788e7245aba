"""A rehearsal: the hospital answers every message of a run, and what would leave is written to a folder."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flwr.app import Context, RecordDict

from client.governance.pseudonyms import FOLDER
from client.governance.records import AUDIT, MARKER
from client.governance.withdrawals import LIST
from client.handlers import Desk, Handler, evaluate_here, roll_call, train_here
from client.hospital.config import Site
from shared.clock import Clock
from shared.config.settings import RunConfig, Settings
from shared.errors import ResultsError, WardroundError
from shared.files import write_whole
from shared.flower_private import recorddict_to_proto
from shared.model.network import initial_weights
from shared.paths import writable_folder
from shared.replay.memory import center_budget
from shared.wire.headers import EvaluateTask, Question, TrainTask
from shared.wire.messages import EvaluateRequest, TrainRequest, pack_evaluate_request, pack_train_request
from shared.wire.records import pack_question

RUN = "0" * 32
"""No run is called so."""


def rehearse(path: Path, config: RunConfig, output: Path, clock: Clock) -> dict[str, str]:
    """Answer the roll call, a stage and a test as this hospital would, and write each answer below `output`.

    `NAME.bin` are the bytes that would leave, `NAME.txt` says what they are. Returns a line for
    each: how large it is, or why it would be refused. Audit log and withdrawals stay as they are.
    """
    site = Site.read(path)
    others = [center for center in site.policy.centers if center != site.center]
    order = (site.center, *others)
    config = {**config, "centers": ",".join(order), "evaluators": "", "order": "given", "rounds": 1}
    settings = Settings.from_run_config(config)
    context = Context(0, 0, {"hospital": str(path.absolute())}, RecordDict(), dict(config))
    known = tuple(str(site.peers.identities[center]) for center in others if center in site.peers.identities)
    weights = initial_weights(settings.network, 0)
    task = TrainTask(
        run=RUN,
        stage=0,
        center=site.center,
        contribute=True,
        budget=center_budget(settings.memory.memory_megabytes, len(order)),
        order=order,
        identities=known,
    )
    test = EvaluateTask(run=RUN, stage=0, center=site.center)
    questions: Mapping[str, tuple[Handler, RecordDict]] = {
        "1-roll-call": (roll_call, pack_question(Question(runs=(RUN,)))),
        "2-train": (train_here, pack_train_request(TrainRequest(task, weights, ()))),
        "3-evaluate": (evaluate_here, pack_evaluate_request(EvaluateRequest(test, weights))),
    }
    writable_folder(output, "output folder")
    told = {}
    prepared = writable_folder(site.state / "prepared", "cache folder")
    with tempfile.TemporaryDirectory() as name:
        copied = _without_traces(site, Path(name) / "state", prepared)
        for kind, (handler, content) in questions.items():
            try:
                answer = handler(content, context, Desk(clock, lambda *_: copied))
            except WardroundError as error:
                told[kind] = f"refused: {error}"
                continue
            told[kind] = _write(output / kind, answer)
            if answer.array_records.get("memory") and settings.memory.exemplar_choice == "lesion-aware":
                told[kind] += " that the model of this dry run chose: a run's may choose others"
    return told


def _without_traces(site: Site, state: Path, prepared: Path) -> Site:
    """The site with a copy of what its state folder decides by."""
    state.mkdir(mode=0o700)
    for part in ("keys", FOLDER, AUDIT):
        if (site.state / part).is_dir():
            shutil.copytree(site.state / part, state / part)
    for name in (LIST, MARKER):
        if (site.state / name).is_file():
            shutil.copy2(site.state / name, state)
    (state / "prepared").symlink_to(prepared, target_is_directory=True)
    return replace(site, state=state)


def _write(path: Path, answer: RecordDict) -> str:
    """Write an answer and what it is; returns a line about it. Raises `ResultsError`."""
    message = recorddict_to_proto(answer).SerializeToString()
    lines = [
        f"{name}.{key}: {value if isinstance(value, str) else repr(value)}"
        for name, record in answer.config_records.items()
        for key, value in record.items()
    ]
    for name, record in answer.array_records.items():
        for key, array in record.items():
            lines.append(f"{name}.{key}: {array.dtype} {tuple(array.shape)}, {len(array.data)} bytes")
    try:
        write_whole(path.with_suffix(".bin"), message, private=True)
        write_whole(path.with_suffix(".txt"), ("\n".join(lines) + "\n").encode(), private=True)
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror}): choose another folder") from None
    exemplars = len(answer.array_records.get("memory", {}))
    return f"{len(message)} bytes" + (f", {exemplars} exemplars" if exemplars else "")
