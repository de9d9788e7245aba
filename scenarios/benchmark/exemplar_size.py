"""Figure (f): what a hospital hands on of a patient, over the whole volumes that it comes from."""

from dataclasses import dataclass

from client.sharing.exemplar_selection import choose
from scenarios.benchmark.fixtures import Bedside
from scenarios.benchmark.harness import Conditions

FLOAT32 = 4


@dataclass(frozen=True)
class Handoff:
    """Bytes of a hospital's exemplars, and of the float32 image and label of the same patients."""

    exemplars: int
    handed_on: int
    volumes: int

    @property
    def value(self) -> float:
        """The bytes handed on over those of the volumes."""
        return self.handed_on / self.volumes

    @property
    def detail(self) -> str:
        """What it was made from."""
        each = self.handed_on / self.exemplars / 1e3
        return (
            f"{each:.0f} kB an exemplar, {self.volumes / self.exemplars / 1e6:.2f} MB a patient, 1/{1 / self.value:.0f}"
        )


def measure_handoff(conditions: Conditions) -> Handoff:
    """Choose the exemplars of one hospital as a run does.

    The volumes are counted on the study's grid and cropped to the head, image and label: an exemplar holds both.
    """
    settings = conditions.settings(centers="amu" if conditions.quick else "bwh")
    bedside = Bedside(settings.run.centers[0], settings, conditions.folder / "state")
    hospital, patients = bedside.open(), bedside.training()
    chosen = choose(hospital, patients, settings, budget=10**12, most=settings.memory.memory_subjects)
    voxels = {hospital.pseudonym(case.subject): volume.image.size for case, volume in patients}
    return Handoff(
        exemplars=len(chosen),
        handed_on=sum(exemplar.payload.nbytes for exemplar in chosen),
        volumes=sum(voxels[exemplar.provenance.subject] * 2 * FLOAT32 for exemplar in chosen),
    )
