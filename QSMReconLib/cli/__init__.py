"""The command line: one file per command, thin shells over the library."""

from .main import main

__all__ = ["main"]
