import pytest
import torch

from QSMReconLib.errors import Cancelled
from QSMReconLib.solvers.cg import conjugate_gradients


@pytest.fixture
def matrix() -> torch.Tensor:
    factor = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    return factor @ factor.T + torch.eye(20)


def test_solves_and_says_how_well(matrix: torch.Tensor) -> None:
    truth = torch.linspace(-1, 1, 20).reshape(4, 5)
    rhs = (matrix @ truth.flatten()).reshape(4, 5)
    seen: list[tuple[int, float]] = []
    solution = conjugate_gradients(
        lambda x: (matrix @ x.flatten()).reshape(4, 5),
        rhs,
        iterations=200,
        tolerance=1e-5,
        callback=lambda done, residual: seen.append((done, residual)),
    )
    assert torch.allclose(solution.value, truth, atol=1e-3)
    assert solution.residual <= 1e-5
    assert seen[-1] == (solution.iterations, solution.residual)


def test_a_good_start_saves_steps_and_is_left_alone(matrix: torch.Tensor) -> None:
    truth = torch.ones(20)
    start = truth + 1e-4
    cold = conjugate_gradients(lambda x: matrix @ x, matrix @ truth, iterations=100, tolerance=1e-4)
    warm = conjugate_gradients(lambda x: matrix @ x, matrix @ truth, iterations=100, tolerance=1e-4, start=start)
    assert warm.iterations < cold.iterations
    assert torch.equal(start, truth + 1e-4)


def test_the_exact_inverse_as_preconditioner_needs_one_step(matrix: torch.Tensor) -> None:
    inverse = torch.linalg.inv(matrix)
    solution = conjugate_gradients(
        lambda x: matrix @ x, torch.ones(20), iterations=10, tolerance=1e-3, precondition=lambda r: inverse @ r
    )
    assert solution.iterations == 1


def test_zero_stays_zero_and_singular_ends() -> None:
    assert conjugate_gradients(lambda x: x, torch.zeros(3), iterations=5).value.tolist() == [0, 0, 0]
    half = torch.tensor([1.0, 0.0])
    solution = conjugate_gradients(lambda x: half * x, torch.tensor([1.0, 0.0]), iterations=50)
    assert solution.value.tolist() == [1, 0]


def test_the_callback_may_stop_it(matrix: torch.Tensor) -> None:
    def stop(done: int, residual: float) -> None:
        if done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        conjugate_gradients(lambda x: matrix @ x, torch.ones(20), iterations=100, callback=stop)


def test_another_inner_product_may_make_it_symmetric(matrix: torch.Tensor) -> None:
    scale = torch.linspace(0.1, 10, 20)
    solution = conjugate_gradients(
        lambda x: (matrix @ x) / scale,
        torch.ones(20),
        iterations=200,
        tolerance=1e-5,
        inner=lambda one, other: float((one * other * scale).sum()),
    )
    assert torch.allclose(matrix @ solution.value, scale, atol=1e-2)
