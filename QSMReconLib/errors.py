"""What can go wrong, as a person should read it."""

from __future__ import annotations


class QsmReconError(Exception):
    """Anything this library raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(QsmReconError):
    """The input or the options are wrong: one sentence saying what, in which file, and what to do."""

    exit_code = 2


class OptionError(InputError):
    """An option is unknown, of the wrong type or out of its range."""


class Cancelled(QsmReconError):
    """The person who started the work has stopped it."""

    exit_code = 130
