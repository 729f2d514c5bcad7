"""Which machine this is, and where on it networks run."""

import os
import platform
import sys
from pathlib import Path

import torch

from gan_augment.errors import ConfigError

__all__ = ["describe_machine", "peak_memory", "pick_device"]


def describe_machine() -> str:
    """Returns processor, cores, memory and system in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def pick_device(device: str) -> torch.device:
    """Returns a device by name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        told = str(error).partition("\n")[0]
        raise ConfigError(
            f"expected device= auto, cpu or cuda, found {device!r}, which is not there ({told})"
        ) from None
    return found


def peak_memory(device: torch.device) -> int | None:
    """Returns the most bytes that were in use at once: of a CUDA device by torch, else by this process as a whole.

    None where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
