"""Withdrawing a subject: it is used no more here, and its exemplars leave the shared memory."""

import shutil
from collections.abc import Collection
from functools import partial
from pathlib import Path

from client.data.layouts import take_inventory
from client.data.volume_cache import forget_images
from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.pseudonyms import image_word, outside_name, pseudonym, pseudonym_key
from client.governance.records import AUDIT, Records
from client.governance.withdrawals import Withdrawals
from client.hospital.config import Site
from client.hospital.division import earlier_images, earlier_names, inside, kept_runs
from shared.clock import Clock
from shared.errors import DamagedError, DataError, RecordError
from shared.stage_archive import open_visit


def withdraw(site: Site, subject: str, clock: Clock) -> bool:
    """Withdraw a subject by the name that the data folder gives it. False where it was already.

    The coordinator hears of it with the next message that this hospital answers. Raises `DataError`
    where the data have no such subject, for a misspelt one would go on being used in silence.
    """
    Records(site.state, site.center)
    key = pseudonym_key(site.state, site.center)
    log = AuditLog(site.state / AUDIT, clock)
    names = (subject, f"sub-{subject}")
    inventory = take_inventory(site.data.folder, site.data.contrasts, site.data.layout)
    known = {case.subject for case in inventory.cases} | {remark.subject for remark in inventory.remarks}
    # Its images may have been deleted already.
    shared = log.subjects("sent")
    found = [name for name in names if name in known or pseudonym(key, name) in shared]
    if not found:
        raise DataError(
            f"{site.data.folder} has no subject {subject!r}: give its name as the data folder has it, such as "
            f"{min(known, default='sub-07')}; nobody was withdrawn"
        )
    # It may have been called otherwise, or come to be: its images are the same.
    paths = [case.image for case in inventory.cases if case.subject == found[0]]
    paths += [remark.image for remark in inventory.remarks if remark.subject == found[0] and remark.image]
    images = {inside(path, site.data.folder) for path in paths}
    every = sorted({found[0]} | earlier_names(site.state, site.center, images, site.data.folder))
    withdrawals = Withdrawals(site.state, partial(pseudonym, key))
    hidden_images = [pseudonym(key, image_word(image)) for image in images]
    new = tuple(hidden for name in every if withdrawals.add(hidden := pseudonym(key, name), clock(), hidden_images))
    if new:
        log.append("withdrawn", Facts(message="withdraw", subjects=new))
    _purge(site, {*paths, *earlier_images(site.state, site.center, every, site.data.folder)}, every, key)
    return bool(new)


def _purge(site: Site, images: Collection[Path], names: Collection[str], key: bytes) -> None:
    """Delete what the state folder holds of the subjects: prepared images, and crops in replies that were kept."""
    forget_images(site.state / "prepared", images)
    for reply in (site.state / "visits").glob("*/*/reply"):
        *_, root = kept_runs(site.state, site.center, (reply.parents[1].name,))
        try:
            open_visit(reply).without({outside_name(key, root, pseudonym(key, name)) for name in names})
        except DamagedError:
            shutil.rmtree(reply, ignore_errors=True)  # it would not have been sent
        except OSError as error:
            raise RecordError(
                f"crops in {reply} cannot be deleted ({error.strerror}): the subject is withdrawn, and they are not "
                "sent; let this user write the state folder, and withdraw it again"
            ) from None
