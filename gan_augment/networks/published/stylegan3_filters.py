"""The bands of StyleGAN3's layers, and the low-pass filters between them (Karras et al. 2021, section 3)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Band", "bands", "low_pass", "radial_low_pass"]


@dataclass(frozen=True, kw_only=True)
class Band:
    """The signal between two layers, or the last one. Frequencies are in cycles per side of the image.

    Attributes:
        rate: Sampling rate s, cells per side of the image.
        cutoff: Frequency f_c up to which the filters pass.
        half_width: Half the width f_h of their transition.
        size: Side of the grid: the image, and a margin around it where it has one.
        channels: Of the signal.
    """

    rate: int
    cutoff: float
    half_width: float
    size: int
    channels: int


def bands(
    *,
    img_resolution: int,
    img_channels: int,
    num_layers: int,
    num_critical: int,
    first_cutoff: float,
    first_stopband: float,
    last_stopband_rel: float,
    margin_size: int,
    channel_base: int,
    channel_max: int,
) -> list[Band]:
    """Returns the bands of `num_layers` layers and of the image.

    With r = min(i / (num_layers - num_critical), 1): f_c[i] = f_c0 (f_cN / f_c0)^r, f_t[i] = f_t0 (f_tN / f_t0)^r,
    s[i] = 2^ceil(log2(min(2 f_t[i], N))), f_h[i] = max(f_t[i], s[i] / 2) - f_c[i] (section 3.2), where N is
    `img_resolution`, f_cN = N / 2 and f_tN = f_cN `last_stopband_rel`.
    """
    last_cutoff = img_resolution / 2
    progress = np.minimum(np.arange(num_layers + 1) / (num_layers - num_critical), 1)
    cutoffs = first_cutoff * (last_cutoff / first_cutoff) ** progress
    stopbands = first_stopband * (last_cutoff * last_stopband_rel / first_stopband) ** progress
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, img_resolution))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * margin_size
    sizes[-2:] = img_resolution
    channels = np.rint(np.minimum(channel_base / 2 / cutoffs, channel_max))
    channels[-1] = img_channels
    return [
        Band(rate=int(rate), cutoff=float(cutoff), half_width=float(half), size=int(size), channels=int(count))
        for rate, cutoff, half, size, count in zip(rates, cutoffs, half_widths, sizes, channels, strict=True)
    ]


def low_pass(taps: int, cutoff: float, width: float, rate: float) -> Tensor:
    """Returns a Kaiser low-pass filter `(taps,)` for both axes, of sum 1 (appendix C.1).

    Args:
        taps: Its length.
        cutoff: Frequency up to which it passes.
        width: Of the transition.
        rate: Sampling rate.
    """
    at = np.arange(taps) - (taps - 1) / 2
    ideal = np.sinc(at * (2 * cutoff / rate)) * np.kaiser(taps, _beta(taps, width, rate))
    return torch.tensor(ideal / ideal.sum(), dtype=torch.float32)


def radial_low_pass(taps: int, cutoff: float, width: float, rate: float) -> Tensor:
    """Returns a filter `(taps, taps)` of sum 1 that is alike in all directions: the jinc function under that window."""
    from scipy.special import j1

    at = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(at[:, None], at)
    inside = np.where(radius == 0, 1.0, radius)  # an odd number of taps has a centre, where j1(a r) / r is a / 2
    ideal = np.where(radius == 0, cutoff * np.pi, j1(2 * np.pi * cutoff * inside) / inside)
    window = np.kaiser(taps, _beta(taps, width, rate))
    ideal = ideal * np.outer(window, window)
    return torch.tensor(ideal / ideal.sum(), dtype=torch.float32)


def _beta(taps: int, width: float, rate: float) -> float:
    """Returns the Kaiser window's shape for the attenuation that these taps reach over that transition."""
    attenuation = 2.285 * (taps - 1) * np.pi * (2 * width / rate) + 7.95
    if attenuation > 50:
        return float(0.1102 * (attenuation - 8.7))
    if attenuation > 21:
        return float(0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21))
    return 0.0
