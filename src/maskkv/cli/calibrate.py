"""`maskkv calibrate`: measure the layers of a model and write the profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import documents, terminal
from maskkv.cli.flags import flagged, load
from maskkv.cli.stretched import Notice
from maskkv.errors import InputError
from maskkv.loading import Loading

if TYPE_CHECKING:
    from maskkv.eviction.profile import LayerProfile
    from maskkv.text.tokenizer import Text

DEFAULT_N = 8


@flagged
def calibrate(
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the profile here; default: standard output.")
    ] = None,
    n: Annotated[int | None, typer.Option("-n", help=f"Generated documents; default: {DEFAULT_N}.")] = None,
    length: Annotated[int, typer.Option(help="Tokens of a document, at most.")] = 1024,
    gen_length: Annotated[int, typer.Option(help="Masks behind each document.")] = 64,
    file: Annotated[
        list[str] | None, typer.Option(metavar="DOC", help="Measure on this UTF-8 text; may be given several times.")
    ] = None,
    loading: Loading,
) -> None:
    """Measure how much each layer does.

    The profile lets eviction start in the very first pass; `generate --profile` takes it. The bundled dLLM is
    measured on generated documents, any other model on texts of the kind it will read (--file).
    """
    _check(out, n, length, gen_length)
    if file and n is not None:
        raise InputError(f"-n counts generated documents: leave it out, each of the {len(file)} files is one prompt")
    from maskkv import calibrate

    texts = [documents.read(source) for source in file or ()]
    generated = [] if file else calibrate.documents(n or DEFAULT_N, length)
    llm = load(loading)
    prompts = [_generated_ids(llm.text, each) for each in generated] + [
        documents.encoded(each, llm.text.encode)[:length] for each in texts
    ]
    name = "bundled" if loading.model is None else loading.name
    Notice(llm)(max(map(len, prompts), default=0) + gen_length)
    with terminal.waiting(f"measuring {len(prompts)} prompts"):
        profile = calibrate.calibrate(llm.model, name, prompts, gen_length, loading.rope_scale)
    _show(profile)
    if out is None:
        terminal.put(profile.to_json().rstrip())
    else:
        _write(out, profile.to_json())


def _check(out: Path | None, n: int | None, length: int, gen_length: int) -> None:
    """Refuse what would fail only after minutes of measuring."""
    for name, value, most in (("-n", n, 10**6), ("--length", length, 1 << 24), ("--gen-length", gen_length, 1 << 24)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
        if value is not None and value > most:
            raise InputError(f"{name} must be at most {most:,}, not {value:,}")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError(f"cannot write {out}: expected the name of a file in a folder that exists")


def _generated_ids(text: Text, prompt: str) -> list[int]:
    """Encode a generated document; only the bundled model's tokenizer has one token per word of it."""
    ids = text.encode(prompt)
    if len(ids) != len(prompt.split()):
        raise InputError("generated documents suit the bundled dLLM only: give this model texts with --file")
    return ids


def _show(profile: LayerProfile) -> None:
    table = terminal.table("layer", "importance", "spread", "share")
    total = sum(profile.importance) or 1.0
    for layer, (mean, spread) in enumerate(zip(profile.importance, profile.spread, strict=True)):
        table.add_row(str(layer), f"{mean:.4f}", f"{spread:.4f}" if profile.n > 1 else "–", f"{mean / total:.1%}")
    terminal.show(table, stderr=True)


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from None
    terminal.note(f"wrote {out}")
