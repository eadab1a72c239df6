"""The word to a user whose prompts are longer than those a model was trained for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskkv.cli import terminal

if TYPE_CHECKING:
    from maskkv.api import LanguageModel


class Notice:
    """Say on standard error, once, that positions are stretched."""

    def __init__(self, llm: LanguageModel) -> None:
        self._llm = llm
        self._said = False

    def __call__(self, length: int) -> None:
        """Say so if so many tokens, prompt and response, are more than the model was trained for."""
        from maskkv.models.stretch import notice

        said = None if self._said else notice(self._llm.model.config, length, self._llm.rope_scale)
        if said is not None:
            terminal.note(said)
            self._said = True
