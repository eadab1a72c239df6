"""`maskkv doctor`: does this machine run maskkv."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer
from rich.filesize import decimal

from maskkv.cli import terminal
from maskkv.cli.flags import Json, ModelFlags, flagged
from maskkv.cli.sample import make
from maskkv.errors import MaskKVError

if TYPE_CHECKING:
    import torch

    from maskkv.api import LanguageModel

LIBRARIES = ("maskkv", "torch", "transformers", "tokenizers", "safetensors", "huggingface_hub")


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and whether that is as it should be."""

    about: str
    found: str
    ok: bool = True


@flagged
def doctor(*, model: ModelFlags, as_json: Json = False) -> None:
    """Report versions, devices and memory, and try a model.

    Exits with 1 if something is broken. The hub is asked only for a --model that is not on this machine.
    """
    findings = [*_versions(), *_devices(), *_try(model)]
    if as_json:
        terminal.put(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        table = terminal.table("", "what", "found")
        for finding in findings:
            mark = "ok" if finding.ok else "BROKEN"
            table.add_row(mark, finding.about, finding.found, style=None if finding.ok else "red")
        terminal.show(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _versions() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for library in LIBRARIES:
        try:
            yield Finding(library, importlib.metadata.version(library))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(library, "not installed: pip install maskkv brings it", ok=False)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("memory", f"{decimal(_free_memory())} free" if _free_memory() else "unknown")
    yield Finding("cpu", f"{torch.get_num_threads()} threads of {os.cpu_count()} cores")
    if not torch.cuda.is_available():
        yield Finding("cuda", "none: the CPU computes")
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        yield Finding(f"cuda:{number}", f"{name}, {decimal(free)} free of {decimal(total)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        yield _multiply(device, dtype)


def _free_memory() -> int:
    """Return the bytes of memory that nothing uses, 0 where the system does not tell."""
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return 0
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _multiply(device: torch.device, dtype: torch.dtype) -> Finding:
    import torch

    about = f"{str(dtype).removeprefix('torch.')} on {device}"
    try:
        product = torch.ones(16, 16, device=device, dtype=dtype) @ torch.ones(16, 16, device=device, dtype=dtype)
        right = bool((product == 16).all())
    except RuntimeError as error:
        return Finding(about, str(error).partition("\n")[0], ok=False)
    return Finding(about, "multiplies" if right else "multiplies wrongly", ok=right)


def _try(model: ModelFlags) -> Iterator[Finding]:
    """Load the model and let it answer: the bundled one a question, another one a few tokens of anything."""
    about = model.model or "bundled dLLM"
    try:
        llm = model.load()
        config = llm.model.config
        size = sum(parameter.numel() for parameter in llm.model.parameters())
        dtype = str(llm.model.dtype).removeprefix("torch.")
        yield Finding(about, f"{config.family}, {size / 1e6:,.1f} M parameters, {dtype} on {llm.model.device}")
        yield Finding(
            "layer profile", "each prompt is probed" if llm.profile is None else f"of {llm.profile.n} prompts"
        )
        yield _question(llm) if model.model is None else _tokens(llm)
    except MaskKVError as error:
        yield Finding(about, str(error), ok=False)


def _question(llm: LanguageModel) -> Finding:
    asked = make("single-key", 128, seed=0)
    result = llm.generate(asked.content, gen_length=asked.gen_length, policy="full")
    right = result.text.split() == asked.answer.split()
    found = f"right: {result.text}" if right else f"wrong: {result.text}; expected: {asked.answer}"
    return Finding("answer to a question", found, ok=right)


def _tokens(llm: LanguageModel) -> Finding:
    result = llm.generate_ids(range(8), gen_length=8, policy="full", stop_at_eos=False)
    return Finding("8 tokens", f"{8 / result.latency_s:.1f} tokens/s")
