"""Least squares by LSMR: min ‖Ax - b‖ with only A and its adjoint.

Fong and Saunders 2011, doi:10.1137/10079687X: as MINRES on the normal equations, so that ‖Aᵀr‖ falls monotonically and
stopping early is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from math import hypot

from .._lazy import torch
from .cg import Operator, Solution


def lsmr(
    apply: Operator,
    adjoint: Operator,
    rhs: torch.Tensor,
    *,
    iterations: int,
    tolerance: float = 0.0,
    start: torch.Tensor | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> Solution:
    """The x of least squares for b = `rhs`, each of any shape; both operators must return tensors of their own.

    Ends after `iterations` or when ‖Aᵀr‖ <= `tolerance`·‖A‖·‖r‖, which is what `Solution.residual` holds. `start` is a
    first guess (not changed). `callback(done, residual)` follows each step and may raise.
    """
    u = rhs.clone() if start is None else rhs - apply(start)
    beta = _normalise(u)
    v = adjoint(u)
    alpha = _normalise(v)
    value = torch.zeros_like(v) if start is None else start.clone()
    direction, carried = v.clone(), torch.zeros_like(v)
    alpha_bar, zeta_bar, rho, rho_bar, c_bar, s_bar = alpha, alpha * beta, 1.0, 1.0, 1.0, 0.0
    size_squared, left, done, residual = alpha**2, beta, 0, 1.0 if alpha * beta > 0 else 0.0
    while done < iterations and residual > tolerance and alpha > 0:
        u = apply(v).sub_(u, alpha=alpha)
        beta = _normalise(u)
        v = adjoint(u).sub_(v, alpha=beta)
        alpha = _normalise(v)
        before, before_bar = rho, rho_bar
        rho = hypot(alpha_bar, beta)
        c, s = alpha_bar / rho, beta / rho
        theta = s * alpha
        alpha_bar = c * alpha
        theta_bar, kept = s_bar * rho, c_bar * rho
        rho_bar = hypot(kept, theta)
        c_bar, s_bar = kept / rho_bar, theta / rho_bar
        zeta, zeta_bar = c_bar * zeta_bar, -s_bar * zeta_bar
        carried.mul_(-theta_bar * rho / (before * before_bar)).add_(direction)
        value.add_(carried, alpha=zeta / (rho * rho_bar))
        direction.mul_(-theta / rho).add_(v)
        size_squared += alpha**2 + beta**2
        # That of LSQR's iterate: never larger than ours, so that we stop no earlier than we may.
        left *= s
        done += 1
        residual = abs(zeta_bar) / max(size_squared**0.5 * max(abs(left), 1e-30), 1e-30)
        if callback is not None:
            callback(done, residual)
    return Solution(value, done, residual)


def _normalise(vector: torch.Tensor) -> float:
    """Scale to length 1, in place; the length it had."""
    length = float(vector.norm())
    if length > 0:
        vector.mul_(1 / length)
    return length
