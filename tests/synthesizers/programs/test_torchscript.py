"""TorchScript: a program, opened only where it is trusted."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.synthesizers.programs.torchscript import is_torchscript, open_program
from tests.synthesizers.programs.generators import ByNumber, ByVector, Unconditional, seeded

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.:DeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.:FutureWarning"),
]


def traced(kind: Any, inputs: tuple[torch.Tensor, ...], path: Path) -> Path:
    torch.jit.save(torch.jit.trace(seeded(kind), inputs, check_trace=False), path)
    return path


def test_nothing_is_opened_without_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = traced(Unconditional, (torch.randn(2, 7, 1, 1),), tmp_path / "g.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *args, **settings: pytest.fail("opened"))
    for trust in (False, "yes", 1):
        with pytest.raises(ArtifactError, match=r"is a program, .*trust=True"):
            open_program(path, latent_dim=7, trust=trust)  # type: ignore[arg-type]


def test_images_equal_the_modules(tmp_path: Path) -> None:
    path = traced(ByNumber, (torch.randn(2, 8), torch.tensor([0, 1])), tmp_path / "g.pt")
    program = open_program(path, trust=True, latent_dim=8, num_classes=3)
    assert (program.labels, program.num_classes, program.form) == ("int", 3, "torchscript")
    latents, labels = torch.randn(70, 8), torch.arange(70) % 3
    expected = seeded(ByNumber)(latents, labels)
    torch.testing.assert_close(program.call(latents, labels), expected, atol=1e-5, rtol=0)
    again = pickle.loads(pickle.dumps(program.call))
    torch.testing.assert_close(again(latents, labels), expected, atol=1e-5, rtol=0)


def test_one_hot_labels_before_the_latents_and_two_outputs(tmp_path: Path) -> None:
    path = traced(ByVector, (torch.randn(2, 5), torch.randn(2, 6)), tmp_path / "g.pt")
    program = open_program(path, trust=True, latent_dim=6, num_classes=5, labels="onehot", latents="z")
    latents, labels = torch.randn(3, 6), torch.eye(5)[[4, 0, 2]]
    expected = seeded(ByVector)(labels, latents)
    torch.testing.assert_close(program.call(latents, labels), expected[1], atol=1e-5, rtol=0)
    program = open_program(path, trust=True, latent_dim=6, num_classes=5, labels="onehot", latents="z", output=0)
    torch.testing.assert_close(program.call(latents, labels), expected[0], atol=1e-5, rtol=0)


def test_latents_of_four_dimensions_and_a_fixed_batch(tmp_path: Path) -> None:
    path = traced(Unconditional, (torch.randn(2, 7, 1, 1),), tmp_path / "g.pt")
    program = open_program(path, trust=True, latent_dim=7, latent_shape=(7, 1, 1), batch=2)
    latents = torch.randn(5, 7)
    expected = seeded(Unconditional)(latents[..., None, None])
    torch.testing.assert_close(program.call(latents, None), expected, atol=1e-5, rtol=0)


def test_what_does_not_fit(tmp_path: Path) -> None:
    path = traced(Unconditional, (torch.randn(2, 7, 1, 1),), tmp_path / "g.pt")
    with pytest.raises(ConfigError, match="latent_dim="):
        open_program(path, trust=True)
    with pytest.raises(ConfigError, match="2 inputs for labels='int'"):
        open_program(path, trust=True, latent_dim=7, num_classes=3)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ArtifactError, match="TorchScript program"):
        open_program(path, trust=True, latent_dim=7)


def test_which_files_are_torchscript(tmp_path: Path) -> None:
    path = traced(Unconditional, (torch.randn(2, 7, 1, 1),), tmp_path / "g.pt")
    assert is_torchscript(path)
    torch.save(seeded(Unconditional).state_dict(), tmp_path / "weights.pt")
    torch.export.save(torch.export.export(seeded(Unconditional), (torch.randn(2, 7, 1, 1),)), tmp_path / "g.pt2")
    path.write_bytes(path.read_bytes()[:500])
    for other in ("weights.pt", "g.pt2", "g.pt", "missing.pt"):
        assert not is_torchscript(tmp_path / other)
