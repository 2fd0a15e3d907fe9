"""A few numbers fitted to many values."""

from __future__ import annotations

from .._lazy import torch


def fitted(basis: torch.Tensor, values: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Amounts (term,) of `basis` (term, place) that lessen Σ weight·(amounts·basis - values)², in double precision.

    By the normal equations, with a billionth of their mean diagonal added: terms that depend on each other share.
    """
    counted = basis if weight is None else basis * weight.double()
    normal = counted @ basis.T
    normal.diagonal().add_(1e-9 * float(normal.diagonal().mean()) + 1e-30)
    amounts: torch.Tensor = torch.linalg.solve(normal, counted @ values.double())
    return amounts
