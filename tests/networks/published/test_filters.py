"""FIR filters between resolutions against sums that are written out."""

import math

import pytest
import torch
from torch import Tensor

from gan_augment.networks.published.filters import double, fir, halve, upfirdn


def written_out(image: Tensor, kernel: Tensor, up: int, down: int, around: list[int], gain: float) -> Tensor:
    """One channel `(H, W)`: y[i, j] = gain sum_ab kernel[a, b] x[i down + h - 1 - a, j down + w - 1 - b]."""
    left, right, top, bottom = around
    (height, width), (h, w) = image.shape, kernel.shape

    cells, weights = image.tolist(), kernel.tolist()

    def cell(row: int, column: int) -> float:
        (i, a), (j, b) = divmod(row - top, up), divmod(column - left, up)
        return cells[i][j] if a == b == 0 and 0 <= i < height and 0 <= j < width else 0.0

    rows = (height * up + top + bottom - h) // down + 1
    columns = (width * up + left + right - w) // down + 1
    made = torch.zeros(rows, columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            made[i, j] = gain * math.fsum(
                weights[a][b] * cell(i * down + h - 1 - a, j * down + w - 1 - b) for a in range(h) for b in range(w)
            )
    return made


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("around", [[0, 0, 0, 0], [3, 1, 1, 2], [-1, 2, 0, -1], [6, 5, 4, 6]])
@pytest.mark.parametrize("shape", [(4, 4), (3, 2), (5,)])
def test_upfirdn_is_the_sum_written_out(up: int, down: int, around: list[int], shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 2, 6, 5, dtype=torch.float64, generator=generator)
    kernel = torch.randn(shape, dtype=torch.float64, generator=generator)
    both = kernel if kernel.ndim == 2 else kernel[:, None] * kernel
    made = upfirdn(images, kernel, up, down, around, gain=1.5)
    assert made.shape[:2] == (2, 2)
    torch.testing.assert_close(made[0, 1], written_out(images[0, 1], both, up, down, around, 1.5))


def test_without_a_kernel_cells_are_spread_and_taken() -> None:
    images = torch.arange(12.0).reshape(1, 1, 3, 4)
    spread = upfirdn(images, None, up=2)
    assert spread.shape == (1, 1, 6, 8)
    assert torch.equal(spread[..., ::2, ::2], images)
    assert spread.sum() == images.sum()
    taken = torch.tensor([[0.0, 0, 0], [0, 10, 14], [0, 0, 0]])
    assert torch.equal(upfirdn(images, None, down=2, padding=1, gain=2.0)[0, 0], taken)


def test_the_layout_changes_nothing() -> None:
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    kernel = fir((1.0, 3.0, 3.0, 1.0))
    other = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(double(images, kernel), double(other, kernel))
    torch.testing.assert_close(halve(images, kernel), halve(other, kernel))


@pytest.mark.parametrize("taps", [(1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 1.0), (1.0, 1.0), (1.0, 2, 3, 4, 4, 3, 2, 1)])
def test_filters_leave_brightness_and_stored_ones_sum_to_one(taps: tuple[float, ...]) -> None:
    kernel = fir(taps)
    assert kernel.shape == ((len(taps),) if len(taps) >= 8 else (len(taps), len(taps)))
    assert kernel.sum().item() == pytest.approx(1)
    flat = torch.ones(1, 2, 16, 16)
    bigger, smaller = double(flat, kernel), halve(flat, kernel)
    assert (bigger.shape[2:], smaller.shape[2:]) == ((32, 32), (8, 8))
    if taps != (1.0, 2.0, 1.0):  # odd filters weigh old and new cells alike only for both phases together
        torch.testing.assert_close(bigger[..., 8:-8, 8:-8], torch.ones(1, 2, 16, 16))
    torch.testing.assert_close(smaller[..., 3:-3, 3:-3], torch.ones(1, 2, 2, 2))


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_it_can_be_differentiated_twice(up: int, down: int) -> None:
    images = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    kernel = fir((1.0, 3.0, 3.0, 1.0))
    assert torch.autograd.gradcheck(lambda x: upfirdn(x, kernel, up, down, [2, 1, 2, 1]).square(), images)
    assert torch.autograd.gradgradcheck(lambda x: upfirdn(x, kernel, up, down, [2, 1, 2, 1]).square(), images)
