"""Weights of a network, read from a file without running any code in it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from hpo.objective import DataError


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of `.safetensors`, or of a state_dict saved with `torch.save` (read with `weights_only`).

    Raises:
        DataError: no such file, or none that holds named tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except Exception as error:  # safetensors, zip and unpickling each have errors of their own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if type(error).__name__ == "UnpicklingError":  # torch's own text goes on to say how to run what is in it
            reason = "it is no file of torch, or holds more than tensors (weights_only); save model.state_dict() alone"
        raise DataError(f"{file} cannot be read as weights: {reason}") from None
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"{file} holds no state_dict, which maps names to tensors: save model.state_dict() alone")
    return state
