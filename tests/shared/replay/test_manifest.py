"""Manifests: what is signed, what may be taken out, and what may not be put in."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.errors import SealError
from shared.replay.manifest import Manifest, SealedContribution, overhead, verify
from shared.trust.canonical_json import canonical
from tests.support.sealed import EXEMPLARS, KARO, MILAN, NOW, PSEUDONYMS, VISIT, contribution, dropped, resigned

SEALED = contribution()


def test_an_untouched_contribution_holds() -> None:
    verify(SEALED, VISIT, NOW)


def test_a_manifest_is_read_as_it_was_written() -> None:
    written = canonical(SEALED.manifest)
    assert Manifest.model_validate_json(written) == SEALED.manifest
    assert Manifest.model_validate_json(written.decode()) == SEALED.manifest


def test_the_courier_reads_who_what_and_until_when_but_nothing_of_the_image() -> None:
    assert SEALED.recipients == ("karo", "milan")
    assert [entry.subject for entry in SEALED.present] == list(PSEUDONYMS)
    assert SEALED.exemplar_bytes == sum(e.payload.nbytes for e in EXEMPLARS)
    written = canonical(SEALED.manifest)
    for hidden in (b"FLAIR", b"spacing", b"shape", *(e.provenance.checksum.encode() for e in EXEMPLARS)):
        assert hidden not in written


def test_a_subject_can_be_dropped_and_the_gap_shows() -> None:
    thinned = SEALED.without({PSEUDONYMS[1]})
    verify(thinned, VISIT, NOW)
    assert dropped(thinned) == (PSEUDONYMS[1],)
    assert [entry.subject for entry in thinned.present] == [PSEUDONYMS[0], PSEUDONYMS[2]]
    assert len(thinned.payloads) == 2
    assert dropped(SEALED) == ()


def test_a_payload_that_is_not_listed_is_refused() -> None:
    extra = np.frombuffer(b"anything", dtype=np.uint8)
    payloads = {**SEALED.payloads, hashlib.sha256(b"anything").hexdigest(): extra}
    with pytest.raises(SealError, match="did not list"):
        verify(replace(SEALED, payloads=payloads), VISIT, NOW)


def test_a_payload_put_in_another_s_place_is_refused() -> None:
    first, second, _ = (entry.checksum for entry in SEALED.manifest.claims.entries)
    payloads = {**SEALED.payloads, first: SEALED.payloads[second]}
    with pytest.raises(SealError, match=f"{first[:12]} in the contribution of milan was changed"):
        verify(replace(SEALED, payloads=payloads), VISIT, NOW)


@pytest.mark.parametrize("payload", [np.zeros((4, 4), np.uint8), np.zeros(4, np.float32)])
def test_a_payload_that_is_no_row_of_bytes_is_refused(payload: np.ndarray) -> None:
    first = SEALED.manifest.claims.entries[0].checksum
    with pytest.raises(SealError, match="no row of bytes"):
        verify(SealedContribution(SEALED.manifest, {first: payload}), VISIT, NOW)


@given(st.data())
def test_any_bit_flipped_in_a_manifest_is_refused(data: st.DataObject) -> None:
    written = bytearray(canonical(SEALED.manifest))
    written[data.draw(st.integers(0, len(written) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((SealError, ValidationError)):
        verify(replace(SEALED, manifest=Manifest.model_validate_json(bytes(written))), VISIT, NOW)


@given(st.data())
def test_any_bit_flipped_in_a_payload_is_refused(data: st.DataObject) -> None:
    checksum = data.draw(st.sampled_from(sorted(SEALED.payloads)))
    payload = SEALED.payloads[checksum].copy()
    payload[data.draw(st.integers(0, payload.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealError, match="was changed on its way"):
        verify(replace(SEALED, payloads={**SEALED.payloads, checksum: payload}), VISIT, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": SEALED.manifest.claims.expires + 1},
        {"entries": SEALED.manifest.claims.entries[::-1]},
        {"entries": SEALED.manifest.claims.entries[:2]},
        {"recipients": SEALED.manifest.claims.recipients[::-1]},
    ],
)
def test_changed_claims_do_not_carry_the_signature(changes: dict[str, object]) -> None:
    claims = SEALED.manifest.claims.model_copy(update=changes)
    forged = replace(SEALED, manifest=SEALED.manifest.model_copy(update={"claims": claims}))
    with pytest.raises(SealError, match="signature does not hold"):
        verify(forged, VISIT, NOW)


def test_another_center_s_signature_is_none() -> None:
    with pytest.raises(SealError, match="signature does not hold"):
        verify(resigned(SEALED, KARO), VISIT, NOW)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("run", "run-2", "for run run-1, not run-2"),
        ("stage", 3, "for stage 2, not 3"),
        ("center", "karo", "for center milan, not karo"),
    ],
)
def test_a_contribution_of_another_visit_is_refused(field: str, value: object, said: str) -> None:
    with pytest.raises(SealError, match=said):
        verify(SEALED, VISIT.model_copy(update={field: value}), NOW)


def test_it_expires_to_the_second() -> None:
    expiry = NOW + timedelta(days=30)
    verify(SEALED, VISIT, expiry - timedelta(seconds=1))
    with pytest.raises(SealError, match="expired on 2030-05-31 12:00 UTC"):
        verify(SEALED, VISIT, expiry)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entries": (SEALED.manifest.claims.entries[0],) * 2}, "an exemplar is listed twice"),
        ({"recipients": (SEALED.manifest.claims.recipients[0],) * 2}, "a recipient is named twice"),
        ({"sender": str(KARO.identity)}, "the key of karo cannot sign for milan"),
        ({"sender": "milan"}, "no public key"),
        ({"sender": f" {MILAN.identity}"}, "cannot sign"),
        ({"recipients": ()}, "recipients"),
        ({"format": 2}, "format"),
        ({"expires": 10**15}, "expires"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_not_read(changes: dict[str, object], said: str) -> None:
    claims = SEALED.manifest.claims.model_copy(update=changes)
    with pytest.raises(ValidationError, match=said):
        Manifest.model_validate_json(
            SEALED.manifest.model_copy(update={"claims": claims}).model_dump_json(warnings=False)
        )


def read_again(manifest: Manifest) -> Manifest:
    return Manifest.model_validate_json(manifest.model_dump_json(warnings=False))


def test_an_exemplar_without_room_for_its_keys_is_not_read() -> None:
    entry = SEALED.manifest.claims.entries[0].model_copy(update={"size": overhead(2)})
    claims = SEALED.manifest.claims.model_copy(update={"entries": (entry,)})
    with pytest.raises(ValidationError, match="too small"):
        read_again(SEALED.manifest.model_copy(update={"claims": claims}))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", b"\xff", '{"claims":{}}'])
def test_what_is_no_manifest_is_said_to_be_none(text: str | bytes) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate_json(text)


def test_a_size_that_understates_the_payload_is_refused() -> None:
    """Else a sender could slip more bytes past the courier's budget."""
    entry = SEALED.manifest.claims.entries[0]
    lying = resigned(SEALED, MILAN, entries=(entry.model_dump() | {"size": entry.size - 1},)).without(())
    with pytest.raises(SealError, match="was changed on its way"):
        verify(lying, VISIT, NOW)
