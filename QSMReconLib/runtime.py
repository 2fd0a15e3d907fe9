"""Where a stage runs, whom it tells, and when it must stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .errors import Cancelled, InputError

if TYPE_CHECKING:
    import torch

Report = Callable[[str, float, str], "bool | None"]
"""Called with the stage's name, the fraction done (0 to 1) and a few words. Returning False cancels the work."""


@dataclass(frozen=True)
class Runtime:
    """Passed to every stage. `device` is a torch device or its name; everything random starts from `seed`.

    `notes` collects whatever a person must know about the run: they are shown and written into the provenance.
    """

    device: torch.device | str = "cpu"
    report: Report | None = None
    seed: int = 0
    stage: str = ""
    notes: list[str] = field(default_factory=list)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the stage is. Raises Cancelled where the listener wants the work to stop."""
        if self.report is not None and self.report(self.stage, min(max(fraction, 0.0), 1.0), text) is False:
            raise Cancelled(f"Cancelled during {self.stage or 'the run'}.")

    def note(self, text: str) -> None:
        """Record something that changes what the result means: a repair, a fallback, a shrunken mask."""
        self.notes.append(text)
        self.progress(0.0, text)

    def at(self, stage: str) -> Runtime:
        """The same runtime, speaking for another stage and with notes of its own."""
        return replace(self, stage=stage, notes=[])


def pick_device(name: str = "auto", notes: list[str] | None = None) -> str:
    """The torch device for `name` (auto, cpu, cuda, cuda:N, mps). Raises InputError for one that is not there.

    `auto` takes the first GPU and falls back to the CPU, which it says in `notes`.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        if torch.backends.mps.is_available():
            return "mps"
        if notes is not None:
            notes.append("No GPU was found: everything runs on the CPU.")
        return "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} cannot be used here; choose auto or cpu.") from error
    return name
