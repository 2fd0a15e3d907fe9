"""PyTorch, imported at its first use.

Stages are listed, checked and shown as forms in places where PyTorch is absent or unwelcome (Slicer's own process,
`qsmrecon --help`), so the files that declare them must import without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _LazyTorch:
        def __getattr__(self, name: str) -> Any:
            found = self.__dict__[name] = getattr(importlib.import_module("torch"), name)
            return found

    torch = _LazyTorch()

__all__ = ["torch"]
