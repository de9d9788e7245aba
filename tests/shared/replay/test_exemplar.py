"""The replay memory: what an exemplar keeps, what it betrays, and what is refused."""

import hashlib
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from shared.errors import MessageError
from shared.replay.exemplar import PACKED, Exemplar, Provenance
from shared.replay.memory import ReplayMemory, center_budget

shapes = st.tuples(*[st.integers(1, 5)] * 3)


def exemplar(center: str = "milan", subject: str = "a1", fill: float = 0.5) -> Exemplar:
    image = np.full((2, 3, 4), fill, dtype=np.float32)
    return Exemplar.encode(image, image.clip(0, 1), center=center, subject=subject, contrast="FLAIR", spacing=2.0)


def with_payload(packed: bytes, **changes: object) -> Exemplar:
    """An exemplar of `packed`, whose checksum is right."""
    provenance = exemplar().provenance.model_copy(update={"checksum": hashlib.sha256(packed).hexdigest(), **changes})
    return Exemplar(provenance, np.frombuffer(packed, dtype=np.uint8))


@given(st.data(), shapes, st.booleans())
def test_decoding_gives_back_what_was_encoded(data: st.DataObject, shape: tuple[int, ...], turned: bool) -> None:
    image = data.draw(arrays(np.float32, shape, elements=st.floats(-1000, 1000, width=32)))
    label = data.draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    if turned:
        image, label = image.transpose(2, 0, 1), label.transpose(2, 0, 1)
    packed = Exemplar.encode(image, label, center="amu", subject="s", contrast="T2w", spacing=1.0)
    assert packed.provenance.shape == image.shape
    kept_image, kept_label = packed.decode()
    assert kept_image.dtype == kept_label.dtype == np.float32
    np.testing.assert_allclose(kept_image, image, rtol=2**-11, atol=2**-24)
    np.testing.assert_allclose(kept_label, label, rtol=0, atol=0.5 / 255 + 1e-6)


@given(arrays(np.uint8, (2, 3, 4)))
def test_what_was_decoded_is_encoded_without_further_loss(steps: NDArray[np.uint8]) -> None:
    label = steps.astype(np.float32) / np.float32(255)
    image = steps.astype(np.float32)
    once = Exemplar.encode(image, label, center="amu", subject="s", contrast="T2w", spacing=1.0)
    again = Exemplar.encode(*once.decode(), center="amu", subject="s", contrast="T2w", spacing=1.0)
    assert again.provenance.checksum == once.provenance.checksum


def test_a_label_beyond_its_range_is_clipped() -> None:
    label = np.array([[[-0.2, 0.0, 1.0, 1.3]]], dtype=np.float32)
    made = Exemplar.encode(np.zeros_like(label), label, center="amu", subject="s", contrast="T2w", spacing=1.0)
    assert made.decode()[1].ravel().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("image", "label"), [((2, 2, 2), (2, 2, 3)), ((2, 2), (2, 2)), ((1, 2, 2, 2), (1, 2, 2, 2))])
def test_image_and_label_are_of_one_3d_shape(image: tuple[int, ...], label: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one 3D shape"):
        Exemplar.encode(
            np.zeros(image, np.float32),
            np.zeros(label, np.float32),
            center="amu",
            subject="s",
            contrast="T2w",
            spacing=1.0,
        )


def test_of_its_origin_an_exemplar_says_only_what_is_meant_to_leave() -> None:
    provenance = exemplar().provenance
    assert set(provenance.model_dump()) == {"center", "subject", "contrast", "shape", "spacing", "checksum", "carries"}
    with pytest.raises(ValidationError, match="path"):
        Provenance(**provenance.model_dump(), path="/data/sub-01.nii.gz")  # type: ignore[call-arg]


def test_the_payload_is_voxels_and_nothing_else() -> None:
    raw = zstandard.decompress(exemplar().payload.tobytes()[1:])
    assert len(raw) == 2 * 3 * 4 * 3


@pytest.mark.parametrize("shape", [(0, 2, 2), (-2, -3, 4), (-2, 3, 4), (2, 3), (2, 3, 4, 1)])
def test_a_shape_that_no_image_has_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        Provenance.model_validate(exemplar().provenance.model_dump() | {"shape": shape})


@given(st.data())
def test_a_payload_changed_anywhere_is_refused(data: st.DataObject) -> None:
    whole = exemplar()
    payload = whole.payload.copy()
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MessageError, match="center milan was changed"):
        replace(whole, payload=payload).decode()


@pytest.mark.parametrize("kept", [0, 1, 10, -1])
def test_a_truncated_payload_is_refused(kept: int) -> None:
    whole = exemplar()
    with pytest.raises(MessageError, match="milan"):
        replace(whole, payload=whole.payload[:kept]).decode()


@pytest.mark.parametrize("voxels", [0, 23, 25])
def test_a_payload_of_another_size_than_its_shape_is_refused(voxels: int) -> None:
    with pytest.raises(MessageError, match="does not hold 24 voxels"):
        with_payload(PACKED + zstandard.compress(bytes(3 * voxels))).decode()


def test_a_payload_that_is_cut_short_under_a_right_checksum_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 72, dtype=np.uint8).tobytes()
    with pytest.raises(MessageError, match="does not hold 24 voxels"):
        with_payload(PACKED + zstandard.compress(noise)[:40]).decode()


def test_a_payload_of_another_version_is_named_as_that() -> None:
    with pytest.raises(MessageError, match="packed by another version"):
        with_payload(b"\x02" + zlib.compress(bytes(72))).decode()


@given(st.integers(0, 2**32 - 1))
def test_any_half_precision_image_comes_back_bit_for_bit(seed: int) -> None:
    """Negative zeros, the smallest and the largest numbers too, though differences of bits wrap around."""
    bits = np.random.default_rng(seed).integers(0, 2**16, (3, 4, 5), dtype=np.uint16)
    image = np.where(np.isfinite(bits.view(np.float16)), bits, 0x8000).astype(np.uint16).view(np.float16)
    label = np.zeros(image.shape, np.float32)
    made = Exemplar.encode(image.astype(np.float32), label, center="amu", subject="s", contrast="T2w", spacing=1.0)
    assert made.decode()[0].astype(np.float16).tobytes() == image.tobytes()


def test_a_payload_that_was_never_packed_is_refused() -> None:
    with pytest.raises(MessageError, match="milan"):
        with_payload(b"these are no voxels").decode()


def test_a_payload_that_unpacks_beyond_its_shape_is_never_unpacked() -> None:
    bomb = with_payload(PACKED + zstandard.compress(bytes(30_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(MessageError, match="does not hold 24 voxels"):
            bomb.decode()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_empty_memory_weighs_nothing() -> None:
    assert ReplayMemory().nbytes == 0
    assert ReplayMemory().centers == ()
    assert ReplayMemory().of("milan") == ()


def test_a_memory_knows_its_centers_in_the_order_of_their_visits() -> None:
    milan, ucsf = (exemplar("milan", "a"), exemplar("milan", "b")), (exemplar("ucsf"),)
    memory = ReplayMemory().with_contribution("milan", milan).with_contribution("ucsf", ucsf)
    assert memory.centers == ("milan", "ucsf")
    assert memory.of("milan") == milan
    assert memory.of("ucsf") == ucsf
    assert memory.of("amu") == ()
    assert memory.nbytes == sum(len(e.payload) for e in milan + ucsf)


def test_a_contribution_replaces_the_same_center_s_earlier_one() -> None:
    before = ReplayMemory((exemplar("milan", "a"), exemplar("ucsf")))
    new = exemplar("milan", "b")
    after = before.with_contribution("milan", [new])
    assert after.of("milan") == (new,)
    assert after.of("ucsf") == before.of("ucsf")
    assert after.with_contribution("milan", []).centers == ("ucsf",)
    assert len(before.exemplars) == 2


def test_another_center_s_exemplar_is_refused() -> None:
    with pytest.raises(MessageError, match="center milan sent exemplars of ucsf"):
        ReplayMemory().with_contribution("milan", [exemplar("milan"), exemplar("ucsf")])


@given(st.floats(0.001, 480), st.integers(1, 50))
def test_the_centers_budgets_together_stay_within_the_memory_s(megabytes: float, centers: int) -> None:
    budget = center_budget(megabytes, centers)
    assert budget * centers <= megabytes * 1e6
    assert (budget + 1) * centers > megabytes * 1e6 * (1 - 1e-12)


def test_what_an_exemplar_carries_comes_back_beside_image_and_label() -> None:
    one = exemplar()
    answer = np.random.default_rng(1).random(one.provenance.shape, dtype=np.float32)
    carrying = one.carrying("answer", answer)
    assert carrying.provenance.carries == ("answer",)
    assert carrying.provenance.checksum != one.provenance.checksum
    there, plain = carrying.unpack(), one.unpack()
    np.testing.assert_array_equal(there.image, plain.image)
    np.testing.assert_array_equal(there.label, plain.label)
    np.testing.assert_allclose(there.extras["answer"] / 255, answer, atol=0.5 / 255 + 1e-6)
    assert plain.extras == {}


def test_an_exemplar_that_carries_less_than_it_says_is_refused() -> None:
    one = exemplar()
    claimed = Exemplar(one.provenance.model_copy(update={"carries": ("answer",)}), one.payload)
    with pytest.raises(MessageError, match="does not hold"):
        claimed.unpack()


def test_what_it_carries_has_the_image_s_shape() -> None:
    with pytest.raises(ValueError, match="must have the shape of the image"):
        exemplar().carrying("answer", np.zeros((1, 2, 3), dtype=np.float32))
