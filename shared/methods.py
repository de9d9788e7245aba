"""The training methods: the one list of their names, and what coordinator, hospitals and reports must know of each.

What a method does to a training stands at the hospital (client/training/methods), how a course of stages is worked
off at the coordinator (server/course.py, server/strategy); tests hold them to this list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Course = Literal["single", "sequential", "pooled", "rounds"]
"""A fresh model at each center; one model from center to center; one training on everybody's data; rounds of
trainings at all centers whose models are averaged."""

Part = Literal["importance"]
"""What a hospital may hand on about the model beside its weights, one array a parameter.

`importance`: how much the centers so far depend on each parameter; never negative.
"""


@dataclass(frozen=True)
class MethodSpec:
    """What is known of a method without training by it."""

    name: str
    """As settings have it."""
    title: str
    """As tables and figures have it."""
    term: str
    """The field's term for it, as it stands in a sentence."""
    about: str
    """One line for a model card: what became of the patients' data, and of the model."""
    course: Course = "sequential"
    replays: bool = False
    """Whether exemplars go from center to center."""
    carries: tuple[Literal["answer"], ...] = ()
    """What each exemplar carries beside image and label (shared/replay/exemplar.py)."""
    state: tuple[Part, ...] = ()
    """What goes from center to center beside the model."""
    whole_model: bool = False
    """Whether it needs the decoder of the model that came, too."""
    not_extendable: str = ""
    """Why a finished run cannot go on at one more center; empty where it can."""

    @property
    def fresh(self) -> bool:
        """Whether each center begins a model of its own."""
        return self.course == "single"

    @property
    def order_free(self) -> bool:
        """Whether its outcome is the same in whatever order the centers come."""
        return self.course != "sequential"


_SPECS = (
    MethodSpec(
        name="single",
        title="Single-domain",
        term="single-domain training",
        about="single-domain training: a fresh model at each hospital; this is the last hospital's alone",
        course="single",
    ),
    MethodSpec(
        name="finetune",
        title="Fine-tuning",
        term="fine-tuning",
        about="sequential fine-tuning: the model visited the hospitals one after another, without a memory",
    ),
    MethodSpec(
        name="replay",
        title="Replay",
        term="replay",
        about="experience replay: the model visited the hospitals one after another, with crops of earlier patients",
        replays=True,
    ),
    MethodSpec(
        name="pooled",
        title="Pooled",
        term="training on pooled data",
        about="multi-domain training: one model on the data of all hospitals at once",
        course="pooled",
        not_extendable="one more center means to train on all data anew",
    ),
    MethodSpec(
        name="fedavg",
        title="FedAvg",
        term="federated averaging",
        about="federated averaging: all hospitals train at once, and their models are averaged round by round",
        course="rounds",
        whole_model=True,
        not_extendable=(
            "one more center would have had its part in every average, so that all rounds are to be done anew"
        ),
    ),
    MethodSpec(
        name="lwf",
        title="LwF",
        term="learning without forgetting",
        about="learning without forgetting: no patient data travels; each model is distilled from the one before",
        whole_model=True,
    ),
    MethodSpec(
        name="ewc",
        title="EWC",
        term="elastic weight consolidation",
        about="elastic weight consolidation: no patient data travels; weights that mattered earlier are held in place",
        state=("importance",),
        whole_model=True,
    ),
    MethodSpec(
        name="mas",
        title="MAS",
        term="memory aware synapses",
        about="memory aware synapses: no patient data travels; weights that answers depended on are held in place",
        state=("importance",),
        whole_model=True,
    ),
    MethodSpec(
        name="derpp",
        title="DER++",
        term="dark experience replay",
        about=(
            "dark experience replay: the model visited the hospitals one after another, with crops of earlier patients "
            "and what the models that chose them answered"
        ),
        replays=True,
        carries=("answer",),
    ),
)

METHODS: Mapping[str, MethodSpec] = {spec.name: spec for spec in _SPECS}
"""Every method by its name, in the order in which they are listed."""


def spec_of(name: str) -> MethodSpec:
    """What is known of a method; of one that another version wrote into a file, its name alone."""
    return METHODS.get(name) or MethodSpec(name=name, title=name, term=name, about=name)
