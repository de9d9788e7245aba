"""A scanner of the usual tissues alone, written plainly: what `scan` gives where nothing is varied, to the bit."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.phantoms.anatomy import Tissues
from shared.phantoms.canvas import LesionMaps
from shared.phantoms.grids import Array, Axes, Grid, SmoothField
from shared.phantoms.relaxation import CAP, CORTEX, DAMAGED, FLUID, LIMBIC, NUCLEI, PLEXUS, WHITE
from shared.phantoms.scanner import Protocol, _ghosted, _slabs, session


def plain_scan(
    protocol: Protocol, tissues: Tissues, lesions: LesionMaps, grid: Grid, rng: np.random.Generator
) -> NDArray[np.int16]:
    protocol, box = session(protocol, rng), tissues.box
    x, y, z = (axis[side] for axis, side in zip(grid.axes(), box, strict=True))
    signal = _plain_signal(protocol, tissues, lesions, (x, y, z), rng)
    if protocol.blur > 0:
        signal = ndimage.gaussian_filter(signal, [protocol.blur / size for size in grid.voxel], truncate=3)
    if rng.random() < protocol.ghosting:
        signal = _ghosted(signal, rng)
    shading = SmoothField(rng, 70.0)
    for part in _slabs(signal.shape):
        signal[part] *= np.exp(protocol.bias * shading((x[part], y, z)))
        signal[part] += protocol.noise * rng.standard_normal(signal[part].shape, dtype=np.float32)
    for part in _slabs(signal.shape):
        imaginary = protocol.noise * rng.standard_normal(signal[part].shape, dtype=np.float32)
        signal[part] = np.minimum(np.sqrt(signal[part] ** 2 + imaginary**2), protocol.clip)
    gain = protocol.level * float(np.exp(rng.normal(0, 0.12)))
    image = np.zeros(grid.shape, dtype=np.int16)
    stored = np.clip(np.rint(gain * signal), 1, np.iinfo(np.int16).max)
    image[box] = np.where(tissues.brain[box], stored, 0)
    return image


def _plain_signal(
    protocol: Protocol, tissues: Tissues, lesions: LesionMaps, axes: Axes, rng: np.random.Generator
) -> Array:
    sequence, box = protocol.sequence, tissues.box
    white, cortex, damaged = (part[sequence.field] for part in (WHITE, CORTEX, DAMAGED))
    unit = sequence.signal(white)
    of_cortex, of_fluid = sequence.signal(cortex) / unit, sequence.signal(FLUID) / unit
    of_nuclei = sequence.signal(NUCLEI[sequence.field]) / unit
    of_limbic = sequence.signal(LIMBIC[sequence.field]) / unit
    of_plexus = sequence.signal(cortex.towards(FLUID, PLEXUS)) / unit
    of_cap = sequence.signal(white.towards(damaged, CAP)) / unit - 1

    patches = SmoothField(rng, 16.0)
    capped, limbic_share = float(rng.uniform(0.2, 1.0)), float(rng.uniform(0.3, 1.7))
    brightness = float(rng.normal(1, 0.03))
    vessels = SmoothField(rng, 3.0) if of_fluid > 1 else None
    inflow = protocol.flow * float(rng.uniform(0, 1.5))

    patchy = patches(axes)
    caps = capped * np.exp(-tissues.ventricle_distance[box] / 2.5)
    nuclei = tissues.nuclei[box]
    limbic = limbic_share * tissues.limbic[box] * (1 - nuclei)
    grey = of_cortex + (of_nuclei - of_cortex) * nuclei + (of_limbic - of_cortex) * limbic
    grey = brightness * grey + (0.3 * (of_cortex - 1) + 0.02) * patchy
    matter = 1 + of_cap * (caps * (1 + 0.4 * patchy) + 0.15 * patchy)
    if vessels is not None:
        matter += (of_fluid - matter) * np.clip(0.12 * (vessels(axes) - 2.2), 0, 0.3)
    dark = of_fluid + inflow * tissues.flow[box]
    dark += (of_plexus - dark) * tissues.plexus[box]
    normal = tissues.gm[box] * grey + tissues.wm[box] * matter + tissues.csf[box] * dark

    fraction = lesions.fraction[box]
    made = (normal + 0.4 * of_cap * lesions.rim[box] * tissues.wm[box]) * (1 - fraction)
    some = fraction > 0
    share = fraction[some]
    t2, t1 = lesions.t2[box][some] / share, lesions.t1[box][some] / share
    signals = sequence.signals(
        white.t1 + t1 * (damaged.t1 - white.t1),
        white.t2 + t2 * (damaged.t2 - white.t2),
        white.density + t2 * (damaged.density - white.density),
    )
    made[some] += share * np.asarray(signals / unit, dtype=np.float32)
    blood = np.zeros(tissues.brain.shape, dtype=np.float32)
    blood.reshape(-1)[tissues.vessels.voxels] = tissues.vessels.share
    return np.asarray(made * (1 - blood[box]), dtype=np.float32)
