"""LongBench's data sets as tasks: its files, its prompts cut in the middle, its scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval.benchmark import Chosen, Example
from maskkv.eval.longbench import files
from maskkv.eval.longbench.datasets import CATALOGUE, DATASETS, PAPER, named, score

RESERVED = max(each.gen_length for each in CATALOGUE.values()) + 128
"""Tokens of the trained length that prompts leave to the longest answer and to the chat template."""


@dataclass(frozen=True)
class LongBenchTask:
    """Examples `numbers` of a data set, whose prompts are cut in the middle to `length` tokens."""

    name: str
    folder: Path
    template: str
    digest: str
    length: int
    numbers: Sequence[int]
    benchmark: str = "longbench"

    @property
    def metric(self) -> str:
        """Return the data set's metric."""
        return CATALOGUE[self.name].metric

    @property
    def settings(self) -> dict[str, object]:
        """Return the length and a hash of the examples and the template."""
        return {"length": self.length, "data": self.digest}

    def example(self, llm: LanguageModel, number: int) -> Example:
        """Read the example at this place of the file."""
        asked, found = CATALOGUE[self.name], files.example(self.folder, self.name, number)
        ids = prompt_ids(llm, files.fill(self.template, found), self.length, raw=not asked.chat)
        return Example(
            ids, asked.gen_length, partial(score, self.name, answers=found.answers, all_classes=found.all_classes)
        )


def tasks(llm: LanguageModel, chosen: Chosen) -> list[LongBenchTask]:
    """List the named data sets (none: all, `paper`: those of the paper's averages) with their first n examples.

    Without lengths, prompts and answers fit into the trained length. The data lies in a folder or in the hub's cache,
    the templates in a file or beside the data.

    Raises:
        InputError: A name is unknown, a file is not there or malformed, or there is no room for a prompt.
    """
    wanted = [each for name in chosen.names or DATASETS for each in (PAPER if name == "paper" else (name,))]
    lengths = chosen.lengths or [llm.model.config.trained_length - RESERVED]
    if min(lengths) < 2:
        raise InputError(f"{min(lengths)} tokens leave no room for a prompt: expected a length of at least 2")
    folder, found = files.find(chosen.data), []
    for name in dict.fromkeys(wanted):
        named(name)
        template = files.template(folder, name, chosen.prompts)
        count, digest = files.check(folder, name, chosen.n)
        data = hashlib.sha256(f"{digest} {template}".encode()).hexdigest()[:16]
        found += [LongBenchTask(name, folder.absolute(), template, data, length, range(count)) for length in lengths]
    return found


def prompt_ids(llm: LanguageModel, prompt: str, length: int, *, raw: bool) -> list[int]:
    """Encode a prompt, cut if it has more than `length` tokens: the first and the last half of these, as text again."""
    ids = llm.text.encode(prompt)
    if len(ids) > length:
        half = length // 2
        prompt = llm.text.decode(ids[:half]) + llm.text.decode(ids[-half:])
    elif raw:  # as it stands: these are its tokens
        return ids
    return llm.prompt_ids(prompt, raw=raw)
