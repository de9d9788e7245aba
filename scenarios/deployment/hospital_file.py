"""A hospital's own file, `hospital.toml`, as `init` writes it once and `join` wants it.

It is a person's to read and to change, so every key has a comment, and nothing that somebody
wrote there is ever overwritten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import tomli_w

from client.data.filenames import CONTRASTS
from client.data.inventory import ANY_LABEL, LabelChoice
from client.data.layouts import Layout
from client.hospital.config import Coordinator, Site
from shared.errors import SettingsError

Role = Literal["train", "evaluate", "both"]


@dataclass(frozen=True)
class Membership:
    """A hospital's file that names a coordinator to join."""

    source: Path
    site: Site
    coordinator: Coordinator

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises `SettingsError` or `TrustError` that names the key which is wrong."""
        path = path.absolute()
        site = Site.read(path)
        if site.coordinator is None:
            raise SettingsError(f"{path} has no [coordinator] to join: make a file by 'wardround hospital init'")
        if site.center != site.coordinator.enrolled_as:
            raise SettingsError(
                f"{path} has center = {site.center!r}, but is enrolled-as = {site.coordinator.enrolled_as!r}: "
                "the coordinator refuses a hospital that answers by another name, so make them the same"
            )
        return cls(path, site, site.coordinator)

    @property
    def flower(self) -> Path:
        """Folder of Flower's own files, below the state folder."""
        return self.site.state / "flower"

    def node_config(self) -> Mapping[str, str]:
        """What the node's apps are told of where they are."""
        return {"hospital": str(self.source)}


@dataclass(frozen=True)
class Answers:
    """What `init` asks."""

    center: str
    state: Path
    folder: Path
    layout: Layout
    contrasts: tuple[str, ...]
    role: Role
    address: str
    root_certificate: str
    labels: LabelChoice = ANY_LABEL

    def document(self) -> str:
        """The whole file, with a comment for every key."""
        trains = self.role != "evaluate"
        return f"""\
# Wardround at {self.center}. Made by "wardround hospital init"; from here on it is yours to change.
# Paths may be relative to this file.

# The hospital's name in the study: letters, digits, - and _.
center = {_text(self.center)}
# What must outlast a crash: keys, audit log, training under way. Back it up; nobody else may read it.
state-dir = {_text(str(self.state))}

[data]
# The images and labels; nothing is ever written there. "wardround hospital check" reads them all.
folder = {_text(str(self.folder))}
# bids, decathlon or nnunet
layout = {_text(self.layout.value)}
# Which of {", ".join(CONTRASTS)} to use.
contrasts = [{", ".join(map(_text, self.contrasts))}]
# Which labels are meant where an image has several: the name of a pipeline's folder, a rater, or an ending of names.
labels = {_text(self.labels.labels)}
# Which value is lesion in labels of several structures; without it labels run from 0 to 1.
{self._lesion_value()}

[coordinator]
# Host and port of the coordinator; the way out must allow TLS to it, and nothing need come in.
address = {_text(self.address)}
# The authority that vouches for the coordinator, as a PEM file; "" for those that this machine trusts anyway.
root-certificate = {_text(self.root_certificate)}
# The name under which the coordinator enrolled this hospital's key: the same as center.
enrolled-as = {_text(self.center)}

[peers]
# The other hospitals' keys, each after a telephone call in which its fingerprint was read out:
# bwh = "wardround-key-v1 bwh ..."
# milan = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567"

[policy]
# What may leave this hospital. What is not allowed here does not leave, whatever the coordinator asks for.
# train: the model learns here and leaves, changed by your patients{"" if trains else " (not allowed now)"};
# evaluate: it is only tested here, on all patients, in runs that name this hospital in evaluators; or both.
role = {_text(self.role)}
# Whether the model may learn here though no patient is left to test it on (a run must want that, too).
train-untested = false
# The least steps by which the model is trained; by one step somebody who has it before and after could make out images.
least-steps = 20
# The least patches of your own patients in a step.
least-batch = 4
# The least patients that are trained on.
least-subjects = 5
# Whether each test image's score leaves, by pseudonym; else only means over all tested patients.
report-subject-scores = false
# Of how many tested patients a mean may leave at the least; of fewer, no score does.
least-test-subjects = 5
# Whether crops of patients' images may leave for the replay memory, sealed for the hospitals below.
share-exemplars = false
# Which hospitals may open them, each by its name under [peers], such as ["bwh", "milan"].
centers = []
# Of how many patients, over all studies.
subjects = 0
# How much at a time, in units of 10^6 bytes before sealing.
megabytes = 0
# How wide a crop may be, in mm.
largest-crop-mm = 140
# How many crops of one patient may ever leave, over all studies.
crops-per-subject = 10
# How much of one patient, in units of 10^6 bytes, over all studies.
megabytes-per-subject = 20
# For how many days they can be opened.
expiry-days = 0
# The column of participants.tsv in which a patient must say yes; "" where consent is asked otherwise.
consent-column = ""
# Patients whose crops never leave, whatever the column says, such as ["sub-07"].
never = []
# Whether the coordinator may see crops, unsealed.
allow-unsealed = false
# Whether a model may come that is an average of several (method fedavg): no hospital has signed it.
allow-averaged-models = false
"""

    def _lesion_value(self) -> str:
        value = self.labels.lesion_value
        return "# lesion-value = 1" if value is None else f"lesion-value = {float(value)}"


def _text(text: str) -> str:
    """A text as TOML has it."""
    return tomli_w.dumps({"text": text}).removeprefix("text = ").rstrip()
