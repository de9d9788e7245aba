"""What a data set holds: the cases that can be used, and what was passed over and why.

Every layout (`layouts.py` lists them) is read into one `Inventory`, so that nothing behind it
needs to know how a hospital names its files.
"""

from dataclasses import dataclass
from pathlib import Path

from client.data.subjects import Doubt
from shared.errors import DataError


@dataclass(frozen=True, order=True)
class Case:
    """One image with its label; a subject may have several."""

    subject: str
    """What is never divided between training and test, such as BIDS's `sub-07`. It stays in the hospital."""
    contrast: str
    image: Path
    label: Path
    lesion_value: float | None = None
    """The label's value that means lesion; None: the label lies in [0, 1] itself."""


@dataclass(frozen=True)
class LabelChoice:
    """What a hospital says of its labels, where their files do not."""

    labels: str = ""
    """Which labels are meant where an image has several, such as a pipeline's name; empty: there is one."""
    lesion_value: float | None = None
    """The value that means lesion in labels of several structures; None: labels lie in [0, 1]."""


ANY_LABEL = LabelChoice()
"""Nothing is said: each image has one label, and that lies in [0, 1]."""


@dataclass(frozen=True, order=True)
class Remark:
    """Something about a subject's files that finding them has shown."""

    subject: str
    contrast: str
    """Empty where it concerns no image in particular."""
    text: str
    """What is wrong and what to do."""
    problem: bool
    """Whether it keeps data out that a hospital would expect to be used."""
    image: Path | None = None
    """The image that it is about; None where there is none."""
    label: Path | None = None
    """The file that was nearly taken for its label, or None."""
    code: str = "missing"
    """Its name for programs: `missing` (image or label), `several-labels`, `contrast-unknown` and `format` of problems,
    `other-contrast` and `mixed-labels` of what is none."""


@dataclass(frozen=True)
class Inventory:
    """Everything that a data folder holds in the wanted contrasts."""

    layout: str
    folder: Path
    contrasts: tuple[str, ...]
    cases: tuple[Case, ...]
    """In order of subject."""
    remarks: tuple[Remark, ...]
    naming: str
    """How this layout finds labels, for the message where there are none."""
    doubts: tuple[Doubt, ...] = ()
    """Subjects whose names may mean another patient."""

    def usable(self) -> list[Case]:
        """The cases. Raises `DataError` where there is none."""
        if not self.cases:
            subjects = len({remark.subject for remark in self.remarks})
            raise DataError(
                f"data folder {self.folder} has {subjects} subjects but no {' or '.join(self.contrasts)} image "
                f"with a lesion label: {self.naming}{self._example()}"
            )
        return list(self.cases)

    def _example(self) -> str:
        """A file that was nearly used, and what is wrong with it."""
        near = [remark for remark in self.remarks if remark.problem and (remark.code != "missing" or remark.label)]
        return f"; of {near[0].subject}, {near[0].text}" if near else ""
