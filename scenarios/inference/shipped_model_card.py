"""The shipped model's card as people read it: from what `wardround ship` noted."""

from scenarios.inference.model_card import number, overview, table, use
from scenarios.shipped.card import ShippedCard
from shared.model.model_file import Model


def shipped_model_card(card: ShippedCard, model: Model) -> str:
    """Markdown, as in a bundle."""
    parts = [overview(model, card.versions["wardround"]), _data(card), _training(card), _performance(card), use(model)]
    return "\n\n".join([*parts, LIMITS, LICENCE]) + "\n"


def _data(card: ShippedCard) -> str:
    return f"""## Data

**Simulated patients alone** (version {card.phantoms}): digital phantoms made from the MNI152 tissue maps, of
{len(card.hospitals)} simulated hospitals ({", ".join(card.hospitals)}); {card.training_subjects} of them to train on.
Neither images nor lesions of any real patient were used, for training or for the threshold."""


def _training(card: ShippedCard) -> str:
    settings = "\n".join(f"{key} = {value!r}" for key, value in card.settings.items())
    versions = ", ".join(f"{name} {release}" for name, release in card.versions.items())
    return f"""## Training

```
{card.command}
```

Commit {card.commit}, seed {card.seed}, {card.training_seconds:.0f} s of training. {versions}.

<details><summary>All settings that decide what is computed</summary>

```
{settings}
```

</details>"""


def _performance(card: ShippedCard) -> str:
    rows = [
        [contrast, one.images, *map(number, (one.dice, one.lesion_f1, one.dice_as_trained, one.dice_in_float32))]
        for contrast, one in card.figures.items()
    ]
    head = ["contrast", "test images", "Dice", "lesion F1", "Dice as trained, from 0.5 on", "Dice in float32"]
    tried = [[threshold, *map(number, dice.values())] for threshold, dice in card.tried.items()]
    return f"""## Performance, on simulated test patients

{table(head, rows)}

**What it does on real patients, these figures do not say.** Weights are float16; SHA-256 of the parameters
`{card.sha256}`.

## Threshold

A voxel was called lesion where the trained network's soft value p was {card.threshold:g} or more: of those tried, the
threshold with the best mean over contrasts of the mean Dice. The model has it built in: its soft values are
sigmoid(logit(p) - logit({card.threshold:g})), and 0.5 is the threshold.

{table(["p from", *(f"Dice, {contrast}" for contrast in card.figures)], tried)}"""


LIMITS = """## Limits

- Not validated for any diagnosis or treatment decision, and not for clinical use.
- Expects skull-stripped adult brains; scalp and eyes are taken for lesions. Other contrasts than those above, other
  diseases with white-matter lesions, and scanners unlike those that were simulated may give anything.
- Soft values are no probabilities of a lesion at a real patient."""

LICENCE = """## Licence

Configuration and weights are Apache-2.0 (`LICENSE`)."""
