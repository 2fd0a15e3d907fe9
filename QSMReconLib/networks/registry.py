"""Which architectures there are, by the name a configuration or a card gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from ..errors import InputError
from .background import BackgroundNet, BackgroundNetConfig
from .folded import Folded, FoldedConfig
from .ratesplitter import RateSplitter, RateSplitterConfig
from .separator import Separator, SeparatorConfig
from .unet import UNet, UNetConfig
from .unrolled import Unrolled, UnrolledConfig
from .weightpredicted import PredictionConfig, WeightPredicted

ARCHITECTURES: dict[str, tuple[type, type[nn.Module]]] = {
    "unrolled": (UnrolledConfig, Unrolled),
    "unet": (UNetConfig, UNet),
    "separator": (SeparatorConfig, Separator),
    "ratesplitter": (RateSplitterConfig, RateSplitter),
    "folded": (FoldedConfig, Folded),
    "background": (BackgroundNetConfig, BackgroundNet),
    "weight-predicted": (PredictionConfig, WeightPredicted),
}


def build(kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    """An untrained network. Raises InputError for an unknown kind or option."""
    if kind not in ARCHITECTURES:
        raise InputError(f"There is no network architecture {kind!r}; there are {', '.join(ARCHITECTURES)}.")
    config, network = ARCHITECTURES[kind]
    known = {item.name for item in fields(config)}
    unknown = set(architecture) - known
    if unknown:
        raise InputError(f"The architecture {kind} has no {', '.join(sorted(unknown))}; it has {', '.join(known)}.")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in architecture.items()}
    return network(config(**options))
