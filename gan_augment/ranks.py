"""Several processes that train one synthesizer, or draw one pool: which of them this is, what they tell each other.

`accelerate launch` and torchrun start them. In a training each works off its part of every batch, gradients are
averaged, and all hold the same weights; rank 0 alone writes. No wrapper around the networks: a GAN's losses call them
several times and differentiate twice.
"""

import atexit
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, distributed

from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, TrainingError
from gan_augment.machine import pick_device

__all__ = ["Ranks", "is_first"]

_BUCKET = 2**23
"""Numbers that are sent at once: 32 MiB."""

_PATIENCE = timedelta(days=20)
"""A process may have work for hours when the others have ended theirs; one that is gone is seen at once.

In milliseconds it must fit 31 bits.
"""


def _started() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def is_first() -> bool:
    """Tells whether this is rank 0, or the only process: the one that prints and writes."""
    return (distributed.get_rank() if _started() else int(os.environ.get("RANK", "0"))) == 0


class Ranks:
    """The processes that work together; one, unless `find` found more.

    Used as a context manager: when it is left, all wait for each other; when it is left by an exception, the
    connections are cut, so that the others end with a TrainingError instead of waiting for ever.

    Args:
        device: Where this process works.
        index: This process, from 0.
        count: Number of processes.
    """

    def __init__(self, device: torch.device, index: int = 0, count: int = 1) -> None:
        self.device, self.index, self.count = device, index, count
        self._control: Any = None
        self._data: Any = None

    @classmethod
    def find(cls, device: str = "auto") -> Self:
        """Returns the processes that a launcher started, every one of which must call this.

        They are found by the launcher's environment (WORLD_SIZE above 1), or by `torch.distributed` where it is
        initialised already.

        Args:
            device: "auto", "cpu" or "cuda": of each process the one that the launcher gave it.

        Raises:
            ConfigError: The environment names processes that cannot be reached, or there is no such device.
        """
        if not _started() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            _start(device)
        if _started() and distributed.get_world_size() > 1:
            return cls(_own_device(device), distributed.get_rank(), distributed.get_world_size())
        return cls(pick_device(device))

    def __enter__(self) -> Self:
        if self.count > 1:
            with self._together():
                self._control = distributed.new_group(backend="gloo", timeout=_PATIENCE)
                self._data = self._control if self.device.type == "cpu" else distributed.new_group()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.count == 1:
            return
        try:
            if error is None:
                self.any(False)
        finally:
            for group in {id(group): group for group in (self._control, self._data)}.values():
                distributed.destroy_process_group(group)
            self._control = self._data = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.index == 0

    def any(self, flag: bool) -> bool:
        """Tells whether `flag` is set in any process; waits for all."""
        if self.count == 1:
            return flag
        found = torch.tensor([int(flag)])
        with self._together():
            distributed.all_reduce(found, distributed.ReduceOp.MAX, group=self._control)
        return bool(found)

    def average(self, tensor: Tensor) -> Tensor:
        """Returns the mean of a tensor over all processes; no gradient flows through."""
        tensor = tensor.detach()
        if self.count == 1:
            return tensor
        mean = tensor.clone(memory_format=torch.contiguous_format)
        self._sum(mean)
        return mean / self.count

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replaces the gradients by their means over all processes."""
        if self.count == 1:
            return
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            self._sum(flat)
            parts = (flat / self.count).split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    def share(self, content: bytes | None) -> bytes | None:
        """Returns rank 0's content in every process."""
        if self.count == 1:
            return content
        size = torch.tensor([-1 if content is None else len(content)])
        with self._together():
            distributed.broadcast(size, 0, group=self._control)
            if int(size) < 0:
                return None
            whole = torch.frombuffer(bytearray(content or bytes(int(size))), dtype=torch.uint8)
            distributed.broadcast(whole, 0, group=self._control)
        return whole.numpy().tobytes()

    def told(self, call: Callable[[], Any]) -> Any:
        """Returns in every process what rank 0's `call` returns, a JSON value; its error is raised in all.

        Raises:
            GanAugmentError: As `call` raised it in rank 0; in the others an ArtifactError of the same words.
        """
        if self.count == 1:
            return call()
        failed: GanAugmentError | None = None
        said: Any = None
        if self.first:
            try:
                said = {"value": call()}
            except GanAugmentError as error:
                failed, said = error, {"error": str(getattr(error, "strerror", None) or error)}
        content = self.share(json.dumps(said).encode() if self.first else None)
        if failed is not None:
            raise failed
        heard = json.loads(content or b"{}")
        if "error" in heard:
            raise ArtifactError(heard["error"])
        return heard["value"]

    @torch.no_grad()
    def same(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process the values of rank 0, in place."""
        if self.count == 1:
            return
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            with self._together():
                distributed.broadcast(sent, 0, group=self._data)
            tensor.copy_(sent)

    def _sum(self, tensor: Tensor) -> None:
        with self._together():
            distributed.all_reduce(tensor, group=self._data)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"expected all {self.count} processes to go on, lost touch with one of them; its own message says why. "
                "Where there is a checkpoint, or shards are finished, the same command goes on from there"
            ) from error


def _start(device: str) -> None:
    from accelerate import PartialState

    cpu = device == "cpu" or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    told = "that they do not say their RANK and LOCAL_RANK"
    try:
        PartialState(cpu=cpu)
    except (ValueError, RuntimeError) as error:
        told = str(error).partition("\n")[0]
    if not _started():
        raise ConfigError(
            f"expected {os.environ['WORLD_SIZE']} processes, as WORLD_SIZE says, that find each other, found {told}; "
            "start them by accelerate launch or torchrun, or unset WORLD_SIZE to work in one"
        )
    atexit.register(_stop)


def _stop() -> None:
    if _started():
        distributed.destroy_process_group()


def _own_device(device: str) -> torch.device:
    """Returns the device of this process: the launcher made one of several CUDA devices the current one."""
    cuda = torch.cuda.is_available() and distributed.get_backend() != "gloo"
    if device in ("auto", "cuda") and cuda:
        return torch.device("cuda", torch.cuda.current_device())
    return pick_device("cpu" if device == "auto" else device)


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Returns the tensors in their order, in lists of one type and about a bucket's size."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
