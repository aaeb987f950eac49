"""What is known of an allocation that failed: how much was asked for, and the most that was in use before."""

from __future__ import annotations

import re
import resource

import torch

from hpo.wording import last_line

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
#: As CUDA ("Tried to allocate 20.00 GiB"), the CPU's allocator ("you tried to allocate 64 bytes") and NumPy ("Unable
#: to allocate 512. MiB for an array") have it.
_REQUEST = re.compile(rf"(?:tried|unable) to allocate (\d+\.?\d*) ({'|'.join(UNITS)})", re.IGNORECASE)


def shortage(error: BaseException, device: torch.device) -> str | None:
    """Of the device or of the host: `requested 20 GiB, peak 3.1 GiB of cuda:0: CUDA out of memory. ...`.

    The peak is that of the running epoch on a GPU and of the process on the host; what nobody knows is left out.

    Returns:
        None for any other error.
    """
    if isinstance(error, torch.OutOfMemoryError):
        known = device.type == "cuda" and torch.cuda.is_initialized()
        peak = f"peak {_size(torch.cuda.max_memory_allocated(device))} of {device}" if known else ""
    elif isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # the latter a plain RuntimeError
        peak = f"peak {_size(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)} of this process"
    else:
        return None
    asked = _REQUEST.search(str(error))
    requested = f"requested {_size(float(asked[1]) * 1024 ** UNITS.index(asked[2]))}" if asked else ""
    message = last_line(str(error)) or type(error).__name__
    return ": ".join(filter(None, (", ".join(filter(None, (requested, peak))), message)))


def _size(count: float) -> str:
    power = 0
    while count >= 1024 and power < len(UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.4g} {UNITS[power]}"
