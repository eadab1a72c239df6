"""What `maskkv bench` compares: its options, their help and their limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from maskkv.budget import Budget, read_budget
from maskkv.checks import check_kv_dtype, check_parts
from maskkv.errors import InputError
from maskkv.generation import Generation


@dataclass(frozen=True)
class BenchOptions:
    """Say what is compared, and on what; beside a field's type stand its help and what its value is called.

    Raises:
        InputError: A value is unusable, or two values do not fit together.
    """

    shape: Annotated[
        str | None,
        "Random weights: mid, mid-blocks (block-causal), mini, tiny, llada-8b, dream-7b, qwen3-0.6b, llada-moe, "
        "llada2-mini, sdar-1.7b or sdar-8b; default: mid.",
    ] = None
    model: Annotated[str | None, "Instead of a shape: hub id or local folder.", "ID"] = None
    device: Annotated[str, "auto, cpu, cuda or cuda:N."] = "auto"
    dtype: Annotated[
        str,
        "auto (a checkpoint's as other commands' auto; of random weights float32 on a CPU, else bfloat16), float32, "
        "bfloat16 or float16.",
    ] = "auto"
    prompt_length: Annotated[list[int], "Tokens of the prompt; repeatable."] = field(default_factory=lambda: [4096])
    batch_size: Annotated[list[int], "Sequences that run together; repeatable."] = field(default_factory=lambda: [1])
    gen_length: Annotated[int, "Tokens of the response, a multiple of 8."] = 64
    policy: Annotated[list[str], "Beside none; repeatable."] = field(default_factory=lambda: ["full", "maskkv"])
    budget: Annotated[
        list[str],
        "Pairs per KV head and layer, or a part of each prompt length, as in 5%, rounded up; repeatable.",
        "PAIRS|PERCENT",
    ] = field(default_factory=lambda: ["64", "256"])
    prompt_interval: Annotated[int, "Steps between prompt refreshes."] = 50
    min_confidence: Annotated[float | None, "Read the prompt again when no candidate is this sure."] = None
    value_drift: Annotated[
        float | None, "Read the prompt again once the response's values have moved this far since."
    ] = None
    kv_dtype: Annotated[str, "What kept pairs are stored in: auto, int8 or fp8."] = "auto"
    compile: Annotated[bool, "Compile what the layers do to each row."] = False
    tensor_parallel: Annotated[int, "Split the model over this many devices; what is counted is of one."] = 1
    repeats: Annotated[int, "Measurements of every policy."] = 3
    none_steps: Annotated[int, "Steps of none to time per repeat, all alike."] = 2
    seed: Annotated[int, "Seed of weights and prompts."] = 0
    json_out: Annotated[Path | None, "Append the JSON line to this file.", "FILE"] = None

    def __post_init__(self) -> None:
        for name in ("prompt_length", "batch_size", "repeats", "none_steps"):
            value = getattr(self, name)
            least = min(value) if isinstance(value, list) else value
            if least < 1:
                raise InputError(f"--{name.replace('_', '-')} {least}: expected at least 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected at least 0")
        if self.model is not None and self.shape is not None:
            raise InputError("--model and --shape both name a model: give one of them")
        check_kv_dtype(self.kv_dtype)
        check_parts(self.tensor_parallel, compiled=self.compile)
        try:
            _ = self.budgets
        except InputError as error:
            raise InputError(f"--{error}") from None
        _ = self.generation

    @property
    def budgets(self) -> list[Budget]:
        """Return the budgets, each once; parts of a prompt stay parts."""
        return list(dict.fromkeys(map(read_budget, self.budget)))

    @property
    def generation(self) -> Generation:
        """Return how responses are made; they do not stop early, so that all take equally many steps."""
        return Generation(
            gen_length=self.gen_length,
            prompt_interval=self.prompt_interval,
            min_confidence=self.min_confidence,
            value_drift=self.value_drift,
            stop_at_eos=False,
        )
