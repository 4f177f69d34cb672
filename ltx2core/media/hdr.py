"""High dynamic range to a plain screen: the light that the curve means, mapped below 100 %, in BT.709's colours.

PQ: SMPTE ST 2084, HLG: ITU-R BT.2100 (system gamma 1.2 at 1000 nits), matrices from the primaries of BT.2020 and BT.709,
diffuse white at 203 nits: ITU-R BT.2408, output curve: ITU-R BT.1886 (power 2.4). Lights above the knee are brought down
by a Moebius curve of the largest channel, so that hues stay and everything below the knee stays as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

PQ, HLG = 16, 18  # transfer curves, ITU-T H.273
CURVES = (PQ, HLG)
WHITE = 203.0  # nits of a diffuse white
PEAK = 1000.0  # nits that still differ; brighter lights are white
KNEE = 0.5  # share of diffuse white up to which light is kept as it is
_LEVELS = 65536
_GAMMA = 2.4
# BT.2020 to BT.709 in linear light.
_TO_709 = np.array([[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32)
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """Light of a PQ signal 0..1, in nits."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = np.power(signal, 1 / m2)
    return 10000 * np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)


def hlg_scene(signal: np.ndarray) -> np.ndarray:
    """Light of the scene of an HLG signal 0..1, relative to its peak."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


@lru_cache(maxsize=2)
def _light(curve: int) -> np.ndarray:
    """Of every 16-bit signal: nits (PQ) or scene light (HLG)."""
    signal = np.arange(_LEVELS, dtype=np.float64) / (_LEVELS - 1)
    return (pq_nits(signal) if curve == PQ else hlg_scene(signal)).astype(np.float32)


def moebius(light: np.ndarray, peak: float = PEAK / WHITE, knee: float = KNEE) -> np.ndarray:
    """``light`` below ``knee`` as it is; above, a curve that leaves it at slope 1 and reaches 1 at ``peak``.

    Of f(x) = s (x + a) / (x + b) with f(knee) = knee, f'(knee) = 1, f(peak) = 1.
    """
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b**2 + 2 * b * knee + knee**2) / (b - a)
    return np.where(light <= knee, light, scale * (light + a) / (light + b)).clip(0, 1)


def tone_mapped(picture: np.ndarray, curve: int) -> np.ndarray:
    """uint16 [H, W, 3] of PQ or HLG in BT.2020's primaries -> uint8 [H, W, 3] for a plain screen."""
    light = _light(curve)[picture]
    if curve == HLG:
        # The screen's own gamma: what was filmed at 1 becomes 1000 nits.
        light *= PEAK * np.power(np.maximum(light @ _LUMA_2020, 1e-9), 0.2)[..., None]
    light = np.maximum(light @ _TO_709.T, 0) / WHITE
    top = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    return (255 * np.power((light * (moebius(top) / top)).clip(0, 1), 1 / _GAMMA) + 0.5).astype(np.uint8)
