"""Weights from which a new training begins: of a network that ships, of a checkpoint, or of a safetensors file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..networks.card import load_card, load_network, networks


def weights_of(source: str) -> dict[str, torch.Tensor]:
    """The weights by name, single precision, on the CPU; of a checkpoint the averaged ones, which are what ships.

    `source` is a name that `networks()` lists, a `.pt` of the training loop (checkpoint.pt or best.pt), or a
    `.safetensors`. Raises InputError for anything else.
    """
    if source in networks():
        return load_network(load_card(source)).state_dict()
    path = Path(source)
    if not path.is_file():
        raise InputError(f"There is no network or file {source!r} to start from; there are {', '.join(networks())}.")
    tensors = _read(path)
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} does not hold the weights of a network.") from error
    tensors = state.get("average", state) if isinstance(state, dict) else None
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise InputError(f"{path} does not hold the weights of a network.")
    return tensors
