"""Sealing: who opens gets what was sealed, and everybody else a reason."""

import hashlib
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from client.governance.pinned_keys import Peers
from shared.errors import SealError, TrustError
from shared.replay import sealing
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import NONCE_BYTES, WRAPPED_KEY_BYTES, Manifest, SealedContribution, Visit, overhead
from shared.replay.sealing import Terms, seal, unseal, unseal_memory
from shared.trust.canonical_json import canonical
from shared.trust.identity import Keys
from tests.support.examples import examples
from tests.support.sealed import (
    EXEMPLARS,
    KARO,
    MILAN,
    NOW,
    PIN,
    PSEUDONYMS,
    TERMS,
    UCSF,
    VISIT,
    contribution,
    dropped,
    exemplar,
    resigned,
    same,
)

SEALED = contribution()


@examples(0.25)
@given(st.data(), st.integers(0, 4), st.booleans())
def test_every_recipient_and_the_sender_open_what_was_sealed(data: st.DataObject, count: int, both: bool) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    images = data.draw(st.lists(arrays(np.float32, shape, elements=st.floats(-9, 9, width=16)), max_size=count))
    made = [
        Exemplar.encode(i, i.clip(0, 1), center="milan", subject=PSEUDONYMS[0], contrast="T2w", spacing=1.5)
        for i in images
    ]
    exemplars = tuple({e.provenance.checksum: e for e in made}.values())
    recipients = (KARO.identity, UCSF.identity) if both else (KARO.identity,)
    sealed = seal(exemplars, MILAN, PIN, replace(TERMS, recipients=recipients))
    travelled = SealedContribution(Manifest.model_validate_json(canonical(sealed.manifest)), dict(sealed.payloads))
    for keys in (KARO, MILAN, *([UCSF] if both else [])):
        assert same(unseal(travelled, keys, PIN, VISIT, NOW), exemplars)


def test_what_was_opened_decodes() -> None:
    opened = unseal(SEALED, KARO, PIN, VISIT, NOW)
    np.testing.assert_array_equal(opened[0].decode()[0], EXEMPLARS[0].decode()[0])


def test_nothing_of_the_plain_bytes_is_in_what_travels() -> None:
    travelling = canonical(SEALED.manifest) + b"".join(p.tobytes() for p in SEALED.payloads.values())
    for plain in EXEMPLARS:
        body = plain.payload.tobytes()
        assert not any(body[i : i + 8] in travelling for i in range(0, len(body) - 8, 8))
        assert plain.provenance.checksum.encode() not in travelling


def test_the_same_exemplar_is_never_sealed_to_the_same_bytes() -> None:
    assert not set(SEALED.payloads) & set(contribution().payloads)


def test_a_payload_is_larger_by_the_stated_overhead() -> None:
    for plain, entry in zip(EXEMPLARS, SEALED.manifest.claims.entries, strict=True):
        assert entry.size == plain.payload.nbytes + overhead(recipients=2)


def test_dropped_exemplars_are_left_out_and_the_others_open() -> None:
    thinned = SEALED.without({PSEUDONYMS[1]})
    assert same(unseal(thinned, KARO, PIN, VISIT, NOW), (EXEMPLARS[0], EXEMPLARS[2]))
    assert unseal(SEALED.without(PSEUDONYMS), KARO, PIN, VISIT, NOW) == ()


def test_a_center_that_is_no_recipient_is_told_so() -> None:
    with pytest.raises(SealError, match="is for karo, milan, not for ucsf"):
        unseal(SEALED, UCSF, PIN, VISIT, NOW)


def test_a_recipient_s_swapped_key_is_noticed() -> None:
    new = Keys.generate("karo")
    with pytest.raises(SealError, match="the key was swapped or is an old one; call milan") as caught:
        unseal(SEALED, new, PIN, VISIT, NOW)
    assert new.identity.fingerprint in str(caught.value)
    assert KARO.identity.fingerprint in str(caught.value)


def test_an_unpinned_signer_is_refused() -> None:
    pin = Peers.of({"ucsf": str(UCSF.identity)}, "peers.toml").check
    with pytest.raises(TrustError, match="no key of milan is pinned"):
        unseal(SEALED, KARO, pin, VISIT, NOW)


def test_a_signer_s_swapped_key_is_refused() -> None:
    impostor = Keys.generate("milan")
    forged = seal(EXEMPLARS, impostor, PIN, TERMS)
    with pytest.raises(TrustError, match="key of milan was swapped"):
        unseal(forged, KARO, PIN, VISIT, NOW)


def test_nothing_is_sealed_for_an_unpinned_or_swapped_key() -> None:
    with pytest.raises(TrustError, match="key of karo was swapped"):
        seal(EXEMPLARS, MILAN, PIN, replace(TERMS, recipients=(Keys.generate("karo").identity,)))
    with pytest.raises(TrustError, match="no key of nih is pinned"):
        seal(EXEMPLARS, MILAN, PIN, replace(TERMS, recipients=(KARO.identity, Keys.generate("nih").identity)))


@pytest.mark.parametrize(("field", "value"), [("run", "run-2"), ("stage", 3)])
def test_a_replay_into_another_run_or_stage_is_refused(field: str, value: object) -> None:
    with pytest.raises(SealError, match="replayed or mixed up"):
        unseal(SEALED, KARO, PIN, VISIT.model_copy(update={field: value}), NOW)


def test_an_expired_contribution_is_refused() -> None:
    with pytest.raises(SealError, match="expired"):
        unseal(SEALED, KARO, PIN, VISIT, NOW + timedelta(days=31))


@given(st.data())
def test_any_bit_flipped_in_a_payload_is_refused_though_its_sender_signs_it(data: st.DataObject) -> None:
    """The encryption's own check: list and signature are made to agree with the flipped payload."""
    entry = SEALED.manifest.claims.entries[0]
    payload = SEALED.payloads[entry.checksum].copy()
    # Karo reads its own wrapped key, the first, but not the one that is the sender's.
    places = [*range(WRAPPED_KEY_BYTES), *range(2 * WRAPPED_KEY_BYTES, payload.size)]
    payload[data.draw(st.sampled_from(places))] ^= 1 << data.draw(st.integers(0, 7))
    checksum = hashlib.sha256(payload.tobytes()).hexdigest()
    flipped = replace(SEALED, payloads={checksum: payload})
    listed = entry.model_copy(update={"checksum": checksum})
    with pytest.raises(SealError, match="does not open"):
        unseal(resigned(flipped, MILAN, entries=(listed.model_dump(),)), KARO, PIN, VISIT, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"visit": {"run": "run-2", "stage": 2, "center": "milan"}},
        {"visit": {"run": "run-1", "stage": 3, "center": "milan"}},
        {"expires": int(TERMS.expires.timestamp()) + 9},
        {"entries": tuple(e.model_dump() for e in SEALED.manifest.claims.entries[::-1])},
        {"entries": (SEALED.manifest.claims.entries[0].model_dump() | {"subject": PSEUDONYMS[1]},)},
    ],
)
def test_a_payload_opens_only_where_it_was_made_for(changes: dict[str, object]) -> None:
    """Even its own sender cannot list an old payload anew: visit, date, index and pseudonym are under the seal."""
    moved = resigned(SEALED, MILAN, **changes)
    with pytest.raises(SealError, match="does not open"):
        unseal(moved.without(()), KARO, PIN, moved.visit, NOW)


def test_another_hospital_cannot_sign_what_it_received_as_its_own() -> None:
    stolen = resigned(
        SEALED,
        UCSF,
        sender=str(UCSF.identity),
        visit={"run": "run-1", "stage": 2, "center": "ucsf"},
    )
    with pytest.raises(SealError, match="does not open"):
        unseal(stolen, KARO, PIN, stolen.visit, NOW)


def test_wrapped_keys_cannot_be_taken_to_another_payload() -> None:
    one, two = (SEALED.payloads[e.checksum] for e in SEALED.manifest.claims.entries[:2])
    keys = 2 * WRAPPED_KEY_BYTES
    mixed = np.concatenate([one[:keys], two[keys:]])
    checksum = hashlib.sha256(mixed.tobytes()).hexdigest()
    entry = SEALED.manifest.claims.entries[0].model_copy(update={"checksum": checksum, "size": mixed.size})
    forged = resigned(replace(SEALED, payloads={checksum: mixed}), MILAN, entries=(entry.model_dump(),))
    with pytest.raises(SealError, match="does not open"):
        unseal(forged, KARO, PIN, VISIT, NOW)


def test_an_exemplar_under_the_seal_that_differs_from_the_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(sealed: Exemplar) -> Exemplar:
        claimed = exemplar(7)
        return replace(sealed, provenance=claimed.provenance)

    honest = sealing._encrypt
    monkeypatch.setattr(sealing, "_encrypt", lambda e, *rest: honest(lying(e), *rest))
    forged = seal(EXEMPLARS[:1], MILAN, PIN, TERMS)
    with pytest.raises(SealError, match="is not what the list says"):
        unseal(forged, KARO, PIN, VISIT, NOW)


def test_a_seal_over_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scribbling:
        generate_key = AESGCM.generate_key

        def __init__(self, key: bytes) -> None:
            self.real = AESGCM(key)

        def encrypt(self, nonce: bytes, plain: bytes, place: bytes) -> bytes:
            return self.real.encrypt(nonce, b"x" * len(plain), place)

    monkeypatch.setattr(sealing, "AESGCM", Scribbling)
    forged = seal(EXEMPLARS[:1], MILAN, PIN, TERMS)
    monkeypatch.undo()
    with pytest.raises(SealError, match="does not say what it is"):
        unseal(forged, KARO, PIN, VISIT, NOW)


def test_one_exemplar_sealed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SealError, match="an exemplar twice"):
        seal((EXEMPLARS[0], EXEMPLARS[0]), MILAN, PIN, TERMS)
    honest = sealing._encrypt
    monkeypatch.setattr(sealing, "_encrypt", lambda e, *rest: honest(EXEMPLARS[0], *rest))
    twice = seal((EXEMPLARS[0], exemplar(5)), MILAN, PIN, TERMS)
    with pytest.raises(SealError, match="holds one exemplar twice"):
        unseal(twice, KARO, PIN, VISIT, NOW)


@pytest.mark.parametrize("subject", ["sub-07", "Jane Doe", "", "../x"])
def test_a_subject_s_name_is_not_sealed_as_a_pseudonym(subject: str) -> None:
    with pytest.raises(SealError, match="use a pseudonym"):
        seal([exemplar(subject=subject)], MILAN, PIN, TERMS)


def test_only_own_exemplars_are_sealed_for_the_own_visit() -> None:
    with pytest.raises(SealError, match="cannot seal exemplars of karo"):
        seal([exemplar(center="karo")], MILAN, PIN, TERMS)
    with pytest.raises(SealError, match="milan cannot seal for the visit to karo"):
        seal(EXEMPLARS, MILAN, PIN, replace(TERMS, visit=VISIT.model_copy(update={"center": "karo"})))


@pytest.mark.parametrize("recipients", [(), (MILAN.identity,)])
def test_sealing_for_nobody_is_refused(recipients: tuple[object, ...]) -> None:
    with pytest.raises(SealError, match="no other center may open"):
        seal(EXEMPLARS, MILAN, PIN, replace(TERMS, recipients=recipients))


def test_terms_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(SealError, match="recipient is named twice"):
        seal(EXEMPLARS, MILAN, PIN, replace(TERMS, recipients=(KARO.identity, KARO.identity)))
    with pytest.raises(ValueError, match="time zone"):
        seal(EXEMPLARS, MILAN, PIN, replace(TERMS, expires=datetime(2030, 1, 1)))
    long = Exemplar.encode(
        np.zeros((1, 1, 1), np.float32),
        np.zeros((1, 1, 1), np.float32),
        center="milan",
        subject=PSEUDONYMS[0],
        contrast="x" * 500,
        spacing=1.0,
    )
    with pytest.raises(SealError, match="shorten its contrast"):
        seal([long], MILAN, PIN, TERMS)


def test_a_memory_is_opened_whole() -> None:
    own = exemplar(9, center="ucsf")
    first = Visit(run="run-1", stage=0, center="ucsf")
    earlier = seal([own], UCSF, PIN, replace(TERMS, visit=first))
    memory = unseal_memory([earlier, SEALED], KARO, PIN, (first, VISIT), NOW)
    assert memory.centers == ("ucsf", "milan")
    assert same(memory.exemplars, (own, *EXEMPLARS))
    assert unseal_memory([], KARO, PIN, (first, VISIT), NOW).exemplars == ()


def test_a_contribution_sent_twice_or_of_no_visited_center_is_refused() -> None:
    with pytest.raises(SealError, match="not visited in this run or came before"):
        unseal_memory([SEALED, SEALED], KARO, PIN, (VISIT,), NOW)
    with pytest.raises(SealError, match="not visited in this run or came before"):
        unseal_memory([SEALED], KARO, PIN, (), NOW)


def test_one_exemplar_from_two_centers_is_refused() -> None:
    mine = exemplar(0, center="ucsf")
    assert mine.provenance.checksum == EXEMPLARS[0].provenance.checksum
    visit = Visit(run="run-1", stage=0, center="ucsf")
    copy = seal([mine], UCSF, PIN, replace(TERMS, visit=visit))
    with pytest.raises(SealError, match="already another center's"):
        unseal_memory([copy, SEALED], KARO, PIN, (visit, VISIT), NOW)


def test_a_later_hospital_opens_only_what_is_sealed_anew_for_it() -> None:
    later = Terms(VISIT, (KARO.identity, UCSF.identity), NOW + timedelta(days=60))
    thinned = SEALED.without({PSEUDONYMS[0]})
    with pytest.raises(SealError, match="not for ucsf"):
        unseal(thinned, UCSF, PIN, VISIT, NOW)
    anew = seal(unseal(thinned, MILAN, PIN, VISIT, NOW), MILAN, PIN, later)
    for keys in (UCSF, KARO, MILAN):
        assert same(unseal(anew, keys, PIN, VISIT, NOW + timedelta(days=45)), EXEMPLARS[1:])
    assert dropped(anew) == ()
    assert PSEUDONYMS[0] not in canonical(anew.manifest).decode()


def test_the_layout_is_the_documented_one() -> None:
    """An independent reading of a payload, by what the module's docstring says of it."""
    claims, entry = SEALED.manifest.claims, SEALED.manifest.claims.entries[1]
    raw = SEALED.payloads[entry.checksum].tobytes()
    place = json.dumps(
        {
            "expires": claims.expires,
            "index": 1,
            "recipients": [
                {"center": "karo", "fingerprint": KARO.identity.fingerprint},
                {"center": "milan", "fingerprint": MILAN.identity.fingerprint},
            ],
            "sender": str(MILAN.identity),
            "subject": PSEUDONYMS[1],
            "visit": {"center": "milan", "run": "run-1", "stage": 2},
        },
        separators=(",", ":"),
    )
    bound = b"wardround-exemplar-v1\0" + place.encode()
    info = KARO.identity.fingerprint.encode() + b"\0" + bound
    key = sealing._suite.decrypt(raw[:80], KARO.sealing, info=info)
    nonce, ciphertext = raw[160 : 160 + NONCE_BYTES], raw[160 + NONCE_BYTES :]
    plain = AESGCM(key).decrypt(nonce, ciphertext, bound)
    assert plain[512:] == EXEMPLARS[1].payload.tobytes()
    assert plain[:512].rstrip() == EXEMPLARS[1].provenance.model_dump_json().encode()


def test_a_large_exemplar_is_sealed_and_opened_quickly() -> None:
    noise = np.frombuffer(os.urandom(3 * 96**3), dtype=np.uint8)
    provenance = EXEMPLARS[0].provenance.model_copy(update={"checksum": hashlib.sha256(noise.tobytes()).hexdigest()})
    large = Exemplar(provenance, noise)
    assert same(unseal(seal([large], MILAN, PIN, TERMS), KARO, PIN, VISIT, NOW), (large,))
