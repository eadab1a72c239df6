"""The command line's fixtures, for commands that split a model."""

from tests.cli.conftest import refused, run, tiny

__all__ = ["refused", "run", "tiny"]
