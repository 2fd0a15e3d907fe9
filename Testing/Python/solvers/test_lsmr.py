import pytest
import torch

from QSMReconLib.errors import Cancelled
from QSMReconLib.solvers.lsmr import lsmr


@pytest.fixture
def matrix() -> torch.Tensor:
    return torch.randn(30, 12, generator=torch.Generator().manual_seed(0))


def test_finds_least_squares_monotonically(matrix: torch.Tensor) -> None:
    rhs = torch.randn(30, generator=torch.Generator().manual_seed(1))
    slopes: list[float] = []
    for steps in range(1, 13):
        found = lsmr(lambda x: matrix @ x, lambda y: matrix.T @ y, rhs, iterations=steps)
        slopes.append(float((matrix.T @ (rhs - matrix @ found.value)).norm()))
    expected = torch.linalg.lstsq(matrix, rhs[:, None]).solution[:, 0]
    assert torch.allclose(found.value, expected, atol=1e-4)
    assert slopes == sorted(slopes, reverse=True)


def test_stops_by_its_tolerance_and_says_how_well(matrix: torch.Tensor) -> None:
    rhs = torch.randn(30, generator=torch.Generator().manual_seed(1))
    seen: list[tuple[int, float]] = []
    found = lsmr(
        lambda x: matrix @ x,
        lambda y: matrix.T @ y,
        rhs,
        iterations=50,
        tolerance=1e-2,
        callback=lambda done, residual: seen.append((done, residual)),
    )
    assert 1 < found.iterations < 12
    assert found.residual <= 1e-2
    assert seen[-1] == (found.iterations, found.residual)
    rest = rhs - matrix @ found.value
    true = float((matrix.T @ rest).norm() / (matrix.norm() * rest.norm()))
    assert true < 2e-2


def test_a_start_is_continued_and_left_alone(matrix: torch.Tensor) -> None:
    truth = torch.linspace(-1, 1, 12)
    start = truth + 1e-3
    found = lsmr(lambda x: matrix @ x, lambda y: matrix.T @ y, matrix @ truth, iterations=12, start=start)
    assert torch.allclose(found.value, truth, atol=1e-5)
    assert torch.equal(start, truth + 1e-3)


def test_zero_stays_zero(matrix: torch.Tensor) -> None:
    found = lsmr(lambda x: matrix @ x, lambda y: matrix.T @ y, torch.zeros(30), iterations=5)
    assert found.value.tolist() == [0.0] * 12
    assert found.iterations == 0


def test_the_callback_may_stop_it(matrix: torch.Tensor) -> None:
    def stop(done: int, residual: float) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        lsmr(lambda x: matrix @ x, lambda y: matrix.T @ y, torch.ones(30), iterations=9, callback=stop)
