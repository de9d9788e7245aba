"""One stage of training: how long it is, on what, at which learning rate, and that it learns."""

import io
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.training.optimisers import Optimisation
from client.training.plan import Plan, plan_stage
from client.training.sampler import PatchSampler, Source
from client.training.trainer import Progress, Trained, train
from shared.config.settings import Settings
from shared.errors import TrainingError
from shared.model.device import choose_device
from shared.model.network import LesionNet
from tests.conftest import Configured
from tests.support.examples import examples
from tests.support.training import CPU, same, sources, weights

# The plan


def test_without_memory_all_patches_are_fresh(configured: Configured) -> None:
    plan = plan_stage(sources(3), [], configured(steps=10, batch_size=4))
    assert (plan.steps, plan.recipe.patches, plan.recipe.replayed, len(plan.own)) == (10, 4, 0, 3)
    assert plan.past == ()


@pytest.mark.parametrize(("past_centers", "exemplars"), [(1, 1), (1, 5), (7, 3)])
def test_balanced_replay_costs_no_step_and_gives_the_memory_its_share(
    configured: Configured, past_centers: int, exemplars: int
) -> None:
    settings = configured(steps=10, batch_size=8, replay_share=0.25, replay_deal="centers")
    memory = [sources(exemplars)] * past_centers
    plan = plan_stage(sources(3), memory, settings)
    assert plan.steps == 10
    assert (plan.recipe.patches, plan.recipe.replayed) == (8, 2)
    assert len(plan.own) == 3
    assert [[len(center) for center in stratum] for stratum in plan.past] == [[exemplars]] * past_centers


@examples(fixture=True)
@given(patches=st.integers(1, 12), share=st.floats(0, 0.999))
def test_at_least_one_patch_of_a_step_is_fresh(configured: Configured, patches: int, share: float) -> None:
    recipe = plan_stage(sources(1), [sources(1)], configured(batch_size=patches, replay_share=share)).recipe
    assert 0 <= recipe.replayed <= recipe.patches - 1
    assert abs(recipe.replayed - patches * share) <= 1


def test_a_center_that_contributed_nothing_is_no_past_center(configured: Configured) -> None:
    plan = plan_stage(sources(2), [[], sources(1)], configured())
    assert len(plan.past) == 1 and plan.recipe.replayed == 1
    assert plan_stage(sources(2), [[], []], configured()).recipe.replayed == 0


@pytest.mark.parametrize(("own", "memory", "steps"), [(4, (2,), 15), (4, (2, 2), 20), (3, (1,), 14), (4, (), 10)])
def test_paper_mode_merges_the_memory_and_lengthens_the_stage_as_much(
    configured: Configured, own: int, memory: tuple[int, ...], steps: int
) -> None:
    settings = configured(steps=10, replay_mode="paper")
    plan = plan_stage(sources(own), [sources(n) for n in memory], settings)
    assert plan.steps == steps
    assert len(plan.own) == own + sum(memory)
    assert plan.past == () and plan.recipe.replayed == 0


@pytest.mark.parametrize(("volumes", "batch", "per_epoch"), [(1, 4, 1), (4, 4, 1), (5, 4, 2), (7, 2, 4)])
def test_epochs_are_passes_over_the_volumes(configured: Configured, volumes: int, batch: int, per_epoch: int) -> None:
    settings = configured(steps=0, epochs=3, batch_size=batch, patches_per_volume=2)
    plan = plan_stage(sources(volumes), [], settings)
    assert (plan.steps_per_epoch, plan.steps) == (per_epoch, 3 * per_epoch)
    assert plan.recipe.patches == 2 * batch


def test_epochs_in_paper_mode_pass_over_the_memory_too(configured: Configured) -> None:
    settings = configured(steps=0, epochs=3, replay_mode="paper")
    assert plan_stage(sources(4), [sources(3)], settings).steps == 3 * 4


def test_pooled_training_takes_the_steps_of_all_stages(configured: Configured) -> None:
    alone = [plan_stage(sources(4), [], configured(steps=10)).steps for _ in range(3)]
    assert plan_stage(sources(12), [], configured(steps=10), contrasts=3).steps == sum(alone)


def test_pooled_training_by_epochs_takes_the_steps_of_all_stages(configured: Configured) -> None:
    settings = configured(steps=0, epochs=5)
    alone = [plan_stage(sources(4), [], settings).steps for _ in range(3)]
    assert plan_stage(sources(12), [], settings, contrasts=3).steps == sum(alone)


# The learning rate


def rates(settings: Settings, steps: int, per_epoch: int = 1) -> list[float]:
    """The learning rate of each step."""
    return rates_of(Plan((), (), plan_stage(sources(1), [], settings).recipe, steps, per_epoch), settings)


def rates_of(plan: Plan, settings: Settings) -> list[float]:
    """AdamW's learning rate in each step of a plan."""
    total = plan.before + plan.steps + plan.after
    network = LesionNet(settings.network)
    optimisation = Optimisation(network, settings.training, total, plan.steps_per_epoch, plan.before)
    seen = []
    for _ in range(plan.steps):
        seen.append(optimisation.learning_rates[-1])
        optimisation.step()
    return seen


def test_a_constant_rate_is_constant(configured: Configured) -> None:
    assert set(rates(configured(schedule="constant", learning_rate=0.003), 30)) == {0.003}


def test_the_step_schedule_decays_every_so_many_epochs(configured: Configured) -> None:
    settings = configured(
        schedule="step", steps=0, epochs=9, decay_epochs=3, decay_factor=0.5, learning_rate=0.4, replay_mode="paper"
    )
    seen = rates(settings, steps=18, per_epoch=2)
    assert seen == pytest.approx([0.4] * 6 + [0.2] * 6 + [0.1] * 6)


def test_one_cycle_goes_up_for_a_tenth_and_down_to_nothing(configured: Configured) -> None:
    seen = rates(configured(schedule="one-cycle", learning_rate=0.01), 100)
    peak = seen.index(max(seen))
    assert max(seen) == pytest.approx(0.01, rel=0.01)
    assert 5 <= peak <= 15
    assert all(a < b for a, b in pairwise(seen[: peak + 1]))
    assert all(a > b for a, b in pairwise(seen[peak:]))
    assert seen[-1] < 0.01 / 1000


@pytest.mark.parametrize("steps", range(1, 31))
def test_one_cycle_fits_a_stage_of_any_length(configured: Configured, steps: int) -> None:
    seen = rates(configured(schedule="one-cycle", learning_rate=0.01), steps)
    assert len(seen) == steps
    assert all(0 < rate <= 0.01 for rate in seen)


def test_the_polynomial_decay_is_that_of_its_formula(configured: Configured) -> None:
    """By hand: 0.5, 0.5 (3/4)^0.9, 0.5 (1/2)^0.9, 0.5 (1/4)^0.9."""
    seen = rates(configured(schedule="polynomial", learning_rate=0.5), 4)
    assert seen == pytest.approx([0.5, 0.385945, 0.267943, 0.143587], abs=1e-6)


@pytest.mark.parametrize("rounds", [1, 2, 3, 6])
@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule": "constant", "steps": 12},
        {"schedule": "one-cycle", "steps": 12},
        {"schedule": "polynomial", "steps": 12},
        {"schedule": "step", "steps": 0, "epochs": 6, "decay_epochs": 2},
    ],
    ids=lambda schedule: schedule["schedule"],
)
def test_rounds_are_one_schedule_cut_in_equal_pieces(
    configured: Configured, rounds: int, schedule: dict[str, Any]
) -> None:
    settings = configured(learning_rate=0.01, **schedule)
    own = sources(4)
    whole = plan_stage(own, [], settings)
    seen: list[float] = []
    for round_ in range(rounds):
        plan = plan_stage(own, [], settings, rounds=rounds, round_=round_)
        assert plan.steps * rounds == whole.steps
        seen += rates_of(plan, settings)
    assert seen == rates_of(whole, settings)


# Training


def stage(settings: Settings, n: int = 2, memory: int = 0, seed: int = 0, **more: Any) -> Trained:
    plan = plan_stage(sources(n), [sources(memory)] if memory else [], settings)
    return train(weights(settings), plan, settings, seed, CPU, **more)


@pytest.mark.parametrize("activation", ["sigmoid", "normalised-relu"])
def test_the_loss_falls_on_an_easy_volume(configured: Configured, activation: str) -> None:
    settings = configured(activation=activation, loss="dice", features=4, steps=60, learning_rate=0.02)
    heard: list[Progress] = []
    trained = stage(settings, report=heard.append)
    assert trained.final_loss < 0.5 * heard[0].loss
    assert trained.final_loss < 0.35


def test_the_same_seed_gives_the_same_weights_bit_for_bit(configured: Configured) -> None:
    settings = configured(batch_size=4)
    one, again, other = (stage(settings, memory=2, seed=seed) for seed in (1, 1, 2))
    assert same(one.weights, again.weights) and one.final_loss == again.final_loss
    assert not same(one.weights, other.weights)


def test_training_changes_every_parameter_and_leaves_what_it_was_given(configured: Configured) -> None:
    settings = configured(steps=3)
    given_weights = weights(settings)
    trained = train(given_weights, plan_stage(sources(2), [], settings), settings, 0, CPU)
    assert same(given_weights, weights(settings))
    changed = {name for name, value in trained.weights.items() if not torch.equal(value, given_weights[name])}
    # An instance norm removes the bias before it, which then has no gradient worth a step.
    assert {name for name in given_weights if name.endswith("weight")} <= changed


def test_trained_weights_are_plain_and_own_their_memory(configured: Configured) -> None:
    for value in stage(configured(steps=1)).weights.values():
        assert value.is_contiguous() and value.device.type == "cpu" and not value.requires_grad
        assert value.isfinite().all()


def test_a_stage_without_any_lesion_trains_all_the_same(configured: Configured) -> None:
    settings = configured(steps=3)
    empty = [Source(one.image, np.zeros_like(one.label), one.lesion[:0], one.air) for one in sources(2)]
    trained = train(weights(settings), plan_stage(empty, [], settings), settings, 0, CPU)
    assert np.isfinite(trained.final_loss)
    assert all(value.isfinite().all() for value in trained.weights.values())


@pytest.mark.parametrize("steps", [1, 3, 45])
def test_progress_is_reported_about_twenty_times_and_at_the_end(configured: Configured, steps: int) -> None:
    heard: list[Progress] = []
    trained = stage(configured(steps=steps, schedule="constant", loss="dice"), report=heard.append)
    assert [progress.step for progress in heard] == sorted({progress.step for progress in heard})
    assert len(heard) == min(steps, len(heard)) <= 40 and len(heard) >= min(steps, 20)
    assert (heard[-1].step, heard[-1].steps, heard[-1].seconds_left) == (steps, steps, 0)
    assert all(0 <= progress.loss <= 1 for progress in heard)
    assert trained.steps == steps


def test_the_time_spent_computing_is_part_of_the_time_spent(configured: Configured) -> None:
    trained = stage(configured(steps=5))
    assert 0 < trained.compute_seconds <= trained.seconds


# Checkpoints


@dataclass
class Kept:
    """Checkpoints in memory, kept when it is time."""

    due_at: set[int]
    states: list[dict[str, Any]] = field(default_factory=list)
    given: dict[str, Any] | None = None
    asked: int = 0

    def load(self) -> dict[str, Any] | None:
        return self.given

    def due(self) -> bool:
        self.asked += 1
        return self.asked in self.due_at

    def save(self, state: dict[str, Any]) -> None:
        # As a file would: what the training does afterwards must not change it.
        file = io.BytesIO()
        torch.save(state, file)
        self.states.append(torch.load(io.BytesIO(file.getvalue()), weights_only=True))


def test_keeping_checkpoints_changes_nothing(configured: Configured) -> None:
    settings = configured(steps=5)
    kept = Kept({1, 2, 3, 4, 5})
    assert same(stage(settings, memory=1, checkpoints=kept).weights, stage(settings, memory=1).weights)
    assert [len(state["losses"]) for state in kept.states] == [1, 2, 3, 4], "none after the last step"


def test_a_checkpoint_is_asked_for_after_each_step_and_kept_when_it_is_due(configured: Configured) -> None:
    kept = Kept({2, 3})
    stage(configured(steps=6), checkpoints=kept)
    assert kept.asked == 5 and [len(state["losses"]) for state in kept.states] == [2, 3]


def test_a_checkpoint_holds_nothing_but_numbers_tensors_and_text(configured: Configured) -> None:
    """Or it could not be read without running what it holds (which `weights_only` refuses)."""
    kept = Kept({1})
    stage(configured(steps=2), checkpoints=kept)
    assert set(kept.states[0]) == {
        "network",
        "steps",
        "method",
        "torch",
        "losses",
        "computing",
        "seconds",
    }


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(
    configured: Configured, schedule: str, optimiser: str
) -> None:
    settings = configured(steps=5, schedule=schedule, optimiser=optimiser)
    kept = Kept({2})
    whole = stage(settings, memory=1, checkpoints=kept)
    heard: list[Progress] = []
    again = stage(settings, memory=1, checkpoints=Kept(set(), given=kept.states[0]), report=heard.append)
    assert same(again.weights, whole.weights) and again.final_loss == whole.final_loss
    assert [progress.step for progress in heard] == [3, 4, 5]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_with_its_step(configured: Configured, bad: float) -> None:
    settings = configured(steps=5, learning_rate=0.5)
    broken = [replace(one, image=one.image * bad) for one in sources(2)]
    kept = Kept({1, 2, 3})
    with pytest.raises(TrainingError, match=r"the loss became nan at step 1 of 5: lower learning-rate \(0\.5\)"):
        train(weights(settings), plan_stage(broken, [], settings), settings, 0, CPU, checkpoints=kept)
    assert kept.states == [], "a broken state is not kept"


def test_a_loss_that_breaks_later_leaves_the_checkpoint_before(configured: Configured) -> None:
    settings = configured(steps=6, schedule="constant", learning_rate=1e30)
    kept = Kept(set(range(1, 7)))
    with pytest.raises(TrainingError, match=r"at step \d of 6: lower learning-rate \(1e\+30\)") as caught:
        stage(settings, checkpoints=kept)
    step = int(str(caught.value).partition("at step ")[2][0])
    assert step > 1 and len(kept.states) == step - 1


def test_the_device_is_named_or_found() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# The same function as a plain loop


@pytest.mark.parametrize(("kind", "over"), [("dice", "batch"), ("dice-ce", "patch")])
def test_a_stage_is_the_training_that_a_plain_loop_does(configured: Configured, kind: str, over: str) -> None:
    """The loop below is written anew, in PyTorch's own layout and without anything that makes it quicker.

    Both draw the same patches. They round differently, and AdamW divides by the root of a mean square, which for a
    gradient of rounding errors alone (that of a bias before an instance norm) makes a whole step of nothing: such
    parameters do not change what the network answers. So answers and losses are compared.
    """
    recipe = {"loss": kind, "dice_over": over, "optimiser": "adamw", "norm": "instance"}
    settings = configured(steps=6, batch_size=2, features=4, schedule="one-cycle", learning_rate=0.002, **recipe)
    own, past = sources(3), [sources(2), sources(1)]
    plan = plan_stage(own, past, settings)
    heard: list[Progress] = []
    trained = train(weights(settings), plan, settings, 5, CPU, report=heard.append)

    network = LesionNet(settings.network)
    network.load_state_dict(weights(settings))
    options = settings.training
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, foreach=False
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=7, pct_start=max(0.1, 2 / 7)
    )
    sampler = PatchSampler(own, plan.past, plan.recipe, np.random.default_rng(5))
    losses = []
    for _ in range(6):
        batch = sampler.batch()
        labels = batch.labels
        answer = torch.sigmoid(network(batch.images.contiguous()))
        axes = (0, 1, 2, 3, 4) if over == "batch" else (1, 2, 3, 4)
        loss = (1 - (2 * (answer * labels).sum(axes) + 1) / (answer.sum(axes) + labels.sum(axes) + 1)).mean()
        if kind == "dice-ce":
            loss = loss - (labels * answer.log() + (1 - labels) * (1 - answer).log()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        losses.append(loss.item())

    assert [progress.loss for progress in heard] == pytest.approx(losses, abs=2e-4)
    ours = LesionNet(settings.network)
    ours.load_state_dict(trained.weights)
    images = sampler.batch().images
    with torch.inference_mode():
        torch.testing.assert_close(ours(images).sigmoid(), network(images).sigmoid(), atol=2e-3, rtol=0)
