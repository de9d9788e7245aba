"""Signal equations, against values worked out by hand and what every radiologist knows."""

import math

import numpy as np
import pytest

from shared.phantoms.centers import CENTERS
from shared.phantoms.relaxation import CORTEX, DAMAGED, FLUID, LESION_T1, LESION_T2, WHITE, Relaxation, Sequence
from shared.phantoms.scanner import session
from shared.phantoms.signals import lesion_signals, signals_of

TISSUE = Relaxation(t1=1000, t2=100, density=0.8)


def test_spin_echo_by_hand() -> None:
    """TR = T1 and TE = T2: density (1 - 1/e) / e."""
    assert Sequence("3T", tr=1000, te=100).signal(TISSUE) == pytest.approx(0.8 * (1 - math.exp(-1)) * math.exp(-1))


def test_inversion_recovery_is_the_textbook_s() -> None:
    """Without preparation: density |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)."""
    expected = 0.8 * abs(1 - 2 * math.exp(-0.5) + math.exp(-3)) * math.exp(-1)
    assert Sequence("3T", tr=3000, te=100, ti=500).signal(TISSUE) == pytest.approx(expected)


def test_a_long_preparation_leaves_nothing_to_invert() -> None:
    """Then recovery is that of saturation: 1 - exp(-TI/T1)."""
    expected = 0.8 * (1 - math.exp(-0.5)) * math.exp(-1)
    assert Sequence("3T", tr=3000, te=100, ti=500, prep=5000).signal(TISSUE) == pytest.approx(expected)


def test_a_tissue_is_nulled_at_the_logarithm_of_two() -> None:
    """For TR much longer than T1, TI = T1 ln 2."""
    null = Sequence("3T", tr=100_000, te=100, ti=1000 * math.log(2))
    assert null.signal(TISSUE) == pytest.approx(0, abs=1e-9)


def test_a_mixture_lies_between() -> None:
    assert TISSUE.towards(Relaxation(2000, 200, 1.0), 0.25) == Relaxation(1250, 125, pytest.approx(0.85))


def test_flair_of_every_center_has_dark_fluid_and_lesions_brighter_than_white_matter() -> None:
    """Where T1 is long and T2 short a lesion is hardly seen in FLAIR; most are brighter than cortex."""
    t2, beyond = (shares.ravel() for shares in np.meshgrid(np.linspace(*LESION_T2, 20), np.linspace(*LESION_T1, 20)))
    t1 = t2 + beyond
    for center in CENTERS.values():
        for contrast, protocol in center.protocols.items():
            sequence = protocol.sequence
            white, cortex = (part[sequence.field] for part in (WHITE, CORTEX))
            unit = sequence.signal(white)
            lesions = lesion_signals(sequence, t2, t1)
            assert (sequence.ti is not None) == (contrast == "FLAIR")
            assert lesions.min() > 1 and 1 < sequence.signal(cortex) / unit < np.median(lesions), center.name
            fluid = sequence.signal(FLUID) / unit
            assert fluid < 0.4 if contrast == "FLAIR" else fluid > lesions.max(), center.name


def test_signals_are_relative_to_white_matter() -> None:
    sequence = CENTERS["milan"].protocols["T2w"].sequence
    of, unit = signals_of(sequence), sequence.signal(WHITE["3T"])
    assert of.cortex == pytest.approx(sequence.signal(CORTEX["3T"]) / unit)
    middle = WHITE["3T"].towards(DAMAGED["3T"], 0.25)
    share = np.array([0.25])
    assert lesion_signals(sequence, share, share) == pytest.approx(sequence.signal(middle) / unit)


def test_no_two_sessions_are_alike_but_all_are_of_one_protocol() -> None:
    protocol = CENTERS["bwh"].protocols["FLAIR"]
    sessions = [session(protocol, np.random.default_rng(k)) for k in range(50)]
    assert len({one.noise for one in sessions}) == 50 and {one.level for one in sessions} == {protocol.level}
    times = [one.sequence.te / protocol.sequence.te for one in sessions]
    assert 0.85 < min(times) < 1 < max(times) < 1.15
    inversions = [one.sequence.ti for one in sessions if one.sequence.ti]
    assert inversions == pytest.approx([time * (protocol.sequence.ti or 0) for time in times])


def test_a_sequence_without_inversion_gets_none_from_a_session() -> None:
    assert session(CENTERS["milan"].protocols["T2w"], np.random.default_rng(0)).sequence.ti is None


def test_limbic_cortex_is_the_brighter_in_every_center() -> None:
    """Its T2 is longer (Georgiades et al. 2001), by less than that of lesions."""
    for center in CENTERS.values():
        for protocol in center.protocols.values():
            of = signals_of(protocol.sequence)
            lesion = float(lesion_signals(protocol.sequence, np.array([0.3]), np.array([0.6]))[0])
            assert of.nuclei < of.cortex < of.limbic < lesion, center.name
