"""Terms that keep a conditional generator from ignoring its latents."""

from torch import Tensor

__all__ = ["mode_seeking"]


def mode_seeking(first: Tensor, second: Tensor, latents1: Tensor, latents2: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Returns the mean over samples of 1 / (|G(z1) - G(z2)| / |z1 - z2| + epsilon), |.| mean absolute differences.

    After Mao et al. 2019 ("Mode seeking GANs for diverse image synthesis"), who maximise the ratio of equation 4 by
    minimising its reciprocal. The images `(N, C, *spatial)`
    are of the same conditions, the latents are `(N, L)`.
    """
    images = (first - second).abs().flatten(1).mean(1)
    latents = (latents1 - latents2).abs().mean(1)
    return (1 / (images / latents.clamp_min(epsilon) + epsilon)).mean()
