"""Something that the library does in a child process, with the folder for everything temporary."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from QSMReconLib.errors import InputError

from .job import Child, Progress, Run, StartProcess, library_command


def new_scratch() -> Path:
    """A folder for one run that nothing else uses, in the application's temporary folder."""
    return Path(slicer.app.temporaryPath) / "QSMRecon" / uuid.uuid4().hex[:12]


@dataclass
class Work:
    """A request at work. Everything temporary is in `scratch`, which `close` removes.

    Who inherits writes its files in `prepare`, and says there which command of the library is to run.
    """

    request: Any
    scratch: Path
    start_process: StartProcess = Child
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_log: Callable[[str], None] = lambda text: None
    run: Run | None = field(default=None, init=False)

    def prepare(self) -> Sequence[str]:
        """Write what the child needs into `scratch`, which is there; returns the arguments of the command line."""
        raise NotImplementedError

    @property
    def stages(self) -> Sequence[str]:
        """What the child's progress will speak of, in order."""
        return ()

    @property
    def leaves(self) -> Path | None:
        """The folder in which a child that is killed may leave half-written results behind."""
        return None

    def start(self) -> None:
        """Write what the child needs and start it. Raises InputError if that cannot be written."""
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            arguments = self.prepare()
        except OSError as error:
            raise InputError(f"{self.scratch} cannot be written to: {error.strerror or error}.") from error
        self.run = Run(
            library_command(*arguments),
            self.scratch,
            stages=self.stages,
            leaves=self.leaves,
            on_progress=self.on_progress,
            on_log=self.on_log,
            start_process=self.start_process,
        )
        self.run.start()

    def close(self, keep: Path | None = None) -> None:
        """End the child if it is still at work, and remove what is temporary, but for the folder `keep` in it."""
        if self.run is not None:
            self.run.end_now()
        if keep is None or not keep.is_relative_to(self.scratch):
            shutil.rmtree(self.scratch, ignore_errors=True)
            return
        for path in self.scratch.iterdir():
            if path != keep:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
