"""A rehearsal: the hospital answers every message of a run, and what would leave is written to a folder."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from flwr.app import Context, RecordDict

from client.governance.approvals import Approvals
from client.governance.keys import load_or_make_keys
from client.governance.pinned_keys import Peers
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
from shared.paths import writable_folder
from shared.protocol.document import StudyProtocol
from shared.protocol.lineage import first_weights, trained_claims
from shared.protocol.plan import RunPlan, plan_of
from shared.trust.identity import Keys
from shared.trust.signed_model import SignedModel
from shared.wire.headers import Question
from shared.wire.messages import EvaluateRequest, TrainRequest, pack_evaluate_request, pack_train_request
from shared.wire.records import pack_question

PRETENDED = "rehearsal"
"""The hospital whose model one that only tests is asked to test."""


def rehearse(path: Path, config: RunConfig, output: Path, clock: Clock) -> dict[str, str]:
    """Answer the roll call, and a stage and a test where its role has them, as this hospital would.

    It acts as if it had approved a protocol of these settings, with the hospitals to which its policy gives crops.
    Each answer is written below `output`: `NAME.bin` are the bytes that would leave, `NAME.txt` says what they are.
    Returns a line for each: how large it is, or why it would be refused. State and audit log stay as they are.
    """
    site = Site.read(path)
    writable_folder(output, "output folder")
    told = {}
    prepared = writable_folder(site.state / "prepared", "cache folder")
    with tempfile.TemporaryDirectory() as name:
        copied = _without_traces(site, Path(name) / "state", prepared)
        copied, plan, keys = _approved(copied, config, clock)
        context = Context(0, 0, {"hospital": str(path.absolute())}, RecordDict(), dict(config))
        for kind, (handler, content) in _questions(copied, plan, keys).items():
            try:
                answer = handler(content, context, Desk(clock, deployed=lambda _: copied))
            except WardroundError as error:
                told[kind] = f"refused: {error}"
                continue
            told[kind] = _write(output / kind, answer)
            if answer.array_records.get("memory") and plan.settings.memory.exemplar_choice == "lesion-aware":
                told[kind] += " that the model of this dry run chose: a run's may choose others"
    return told


def _approved(site: Site, config: RunConfig, clock: Clock) -> tuple[Site, RunPlan, Keys]:
    """A protocol of these settings, approved; the keys are those of who trains at its first stage.

    A peer of whom only the fingerprint is pinned gets keys that are thrown away.
    """
    keys = load_or_make_keys(site.keys, site.center)
    if site.policy.role == "evaluate":
        keys = Keys.generate(PRETENDED)
        peers, order, evaluators = {PRETENDED: keys.identity}, [PRETENDED], site.center
    else:
        shared = [c for c in site.policy.centers if c != site.center and c in site.peers.fingerprints]
        peers = {c: site.peers.identities.get(c) or Keys.generate(c).identity for c in shared}
        order, evaluators = [site.center, *shared], ""
    settings = Settings.from_run_config(
        {**config, "centers": ",".join(order), "evaluators": evaluators, "order": "given", "rounds": 1}
    )
    identities = {center: str(identity) for center, identity in peers.items()}
    protocol = StudyProtocol.of_run(settings, identities | {keys.center: str(keys.identity)}, clock(), "dry run")
    pins = Peers.of(identities, site.peers.source)
    Approvals(site.state, site.center, clock).approve(protocol)
    policy = site.policy.model_copy(update={"least_steps": 1})  # whoever rehearses shortens the training
    return replace(site, peers=pins, policy=policy), plan_of(protocol, 0, settings.to_run_config()), keys


def _questions(site: Site, plan: RunPlan, keys: Keys) -> Mapping[str, tuple[Handler, RecordDict]]:
    """The messages of a run of one stage, with the model that it begins with."""
    weights = first_weights(plan.settings)
    task = plan.train_task(0, plan.order[0])
    request = TrainRequest(task, weights, ())
    questions: dict[str, tuple[Handler, RecordDict]] = {
        "1-roll-call": (roll_call, pack_question(Question(protocol=plan.protocol, runs=plan.runs)))
    }
    if site.policy.role != "evaluate":
        questions["2-train"] = (train_here, pack_train_request(request))
    if site.policy.role != "train":
        signed = SignedModel.sign(trained_claims(request, weights, {}), keys)
        test = EvaluateRequest(plan.evaluate_task(0, site.center), weights, signed)
        questions["3-evaluate"] = (evaluate_here, pack_evaluate_request(test))
    return questions


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
