"""Whose exemplars may leave: the hospital's subjects, with what its policy, consents and audit log say of each."""

from collections.abc import Mapping
from pathlib import Path

from client.governance.consent import read_consent
from client.governance.policy import Subject, why_barred
from client.hospital.center import Hospital
from client.hospital.config import Site
from client.hospital.trust import NOTHING_LEFT, Custody, Left

PARTICIPANTS = "participants.tsv"
"""In the data folder: where BIDS keeps what a consent column says."""


def subjects_of(site: Site, hospital: Hospital, sent: Mapping[str, Left]) -> Mapping[str, Subject]:
    """The hospital's subjects by pseudonym, with what decides whether their exemplars may leave.

    Raises `DataError` where the policy names a consent column that is not there.
    """
    column = site.policy.consent_column
    folder = site.data.folder if site.data.folder.is_dir() else site.data.folder.parent
    consent = read_consent(Path(folder) / PARTICIPANTS, column) if column else {}
    names = {case.subject for case in hospital.training + hospital.test}
    return {
        (known := hospital.pseudonym(name)): Subject(
            name=name,
            consent=consent.get(_bids(name)),
            withdrawn=known in hospital.withdrawn,
            sent=known in sent,
            crops=sent.get(known, NOTHING_LEFT).crops,
            nbytes=sent.get(known, NOTHING_LEFT).nbytes,
        )
        for name in names
    }


def _bids(name: str) -> str:
    return "sub-" + name.removeprefix("sub-")


def may_be_chosen(custody: Custody, subjects: Mapping[str, Subject]) -> frozenset[str]:
    """Pseudonyms of the subjects whose exemplars are worth cutting out.

    Where as many subjects were shared as ever may be, over all runs, only they are chosen again.
    """
    free = frozenset(known for known, subject in subjects.items() if not why_barred(custody.policy, subject))
    sent = frozenset(known for known, subject in subjects.items() if subject.sent)
    return free & sent if len(sent) >= custody.policy.subjects else free
