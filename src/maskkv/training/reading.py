"""Train the model that quotes: `python -m maskkv.training.reading --corpus FILE --tokenizer FOLDER --out FOLDER`.

Short documents first, for lookups form there; then longer ones, the last at the lengths that the model claims while
the rates fall to zero. Everything is seeded. A run can be stopped at any time and goes on from its checkpoint, on the
same or on another kind of device; the weights that did best on held-out documents lie in `best` as a model folder.
"""

import argparse
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, Dataset

from maskkv.training.export import published_config, write_weights
from maskkv.training.heads import Shape
from maskkv.training.reading_data import EOS, MASK, Paragraphs, Rows
from maskkv.training.structure import Words, structured
from maskkv.training.trainer import Batch, Trainer

LONGEST = 2048
# Up to which share of the tokens documents have these lengths, in turn.
STAGES: tuple[tuple[float, tuple[int, ...]], ...] = (
    (0.05, (160,)),
    (0.20, (192, 256)),
    (0.55, (256, 512, 192)),
    (0.85, (512, 1024, 256)),
    (1.0, (1024, 2048, 512, 256)),
)
# What the rates are of the base rates, and from which share of the tokens on they fall to zero.
_PEAK, _FALL = 0.12, 0.3
_SAVE_EVERY, _CHECK_EVERY, _REPORT_EVERY = 50, 150, 25
_FIRST_SEED, _CHECK_SEED = 10**9, 5 * 10**8
# Lengths of the held-out documents.
_CHECKED = (256, 512, 1024)


class Steps(Dataset[Batch]):
    """The batches of all steps: a step's number and the seed decide everything."""

    def __init__(self, rows: Rows, seed: int, tokens: int, per_step: int) -> None:
        self._rows, self._seed, self._tokens, self._per_step = rows, seed, tokens, per_step

    def __len__(self) -> int:
        return math.ceil(self._tokens / self._per_step)

    def __getitem__(self, step: int) -> Batch:
        if step >= len(self):
            raise IndexError(f"step {step} of {len(self)}")
        lengths = next(lengths for share, lengths in STAGES if step / len(self) <= share)
        length = lengths[step % len(lengths)]
        return self._rows.batch(max(1, self._per_step // length), length, _FIRST_SEED * (1 + self._seed) + step)


def factor(share: float) -> float:
    """Give the factor on the rates after a share of the tokens."""
    return _PEAK * min(1.0, (1 - share) / (1 - _FALL))


def vocabulary(tokenizer: Tokenizer) -> Words:
    """Tell the structure which tokens ask, which end sentences, and which spell the same word."""
    spellings: dict[str, list[int]] = {}
    stops = []
    for token in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([token], skip_special_tokens=True)
        word = text.strip().casefold()
        if text[:1] in (".", "!", "?", "\n"):
            stops.append(token)
        if word and "\ufffd" not in word:
            spellings.setdefault(word, []).append(token)
    alike = [tokens for tokens in spellings.values() if len(tokens) > 1]
    return Words(MASK, questions=spellings.get("?", []), stops=stops, spellings=alike)


@torch.no_grad()
def held_out(trainer: Trainer, batches: list[Batch]) -> float:
    """Return the mean loss on documents of held-out text, asked with held-out phrasings."""
    return sum(trainer.loss(batch).item() for batch in batches) / len(batches)


def train(trainer: Trainer, steps: Steps, checks: list[Batch], out: Path, seconds: float, workers: int) -> None:
    """Take the steps that are left, for at most some seconds; keep a checkpoint and the best weights in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    began, losses, best = time.monotonic(), list[float](), math.inf
    if (out / "best" / "loss.txt").exists():
        best = float((out / "best" / "loss.txt").read_text())
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(trainer.step, len(steps)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        losses.append(trainer.learn([batch], factor(trainer.step / len(steps))))
        spent, last = time.monotonic() - began, trainer.step == len(steps)
        if trainer.step % _REPORT_EVERY == 0:
            recent = losses[-_REPORT_EVERY:]
            print(
                f"step {trainer.step}/{len(steps)}  length {batch.ids.shape[1]}  "
                f"loss {sum(recent) / len(recent):.3f}  {trainer.tokens / 1e6:.2f} M tokens  {spent:.0f} s",
                flush=True,
            )
        if trainer.step % _CHECK_EVERY == 0 or last or spent > seconds:
            found = held_out(trainer, checks)
            print(f"step {trainer.step}  held-out loss {found:.3f}", flush=True)
            if found < best:
                best = found
                write_weights(trainer.master, trainer.config, out / "best")
                (out / "best" / "loss.txt").write_text(f"{best}\n")
        if trainer.step % _SAVE_EVERY == 0 or last or spent > seconds:
            trainer.save(out / "checkpoint.safetensors")
        if spent > seconds:
            break


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="file made by python -m maskkv.training.corpus")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder made by python -m maskkv.training.bpe")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the best weights")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time; the run can go on later")
    parser.add_argument("--tokens", type=float, default=30e6, help="tokens of the whole run (default: %(default)g)")
    parser.add_argument("--step-tokens", type=int, default=4096, help="tokens of a step (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that make documents (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(given.tokenizer / "tokenizer.json"))
    paragraphs = Paragraphs(given.corpus)
    shape = Shape(tokenizer.get_vocab_size())
    config = published_config(asdict(shape), eos=EOS, mask=MASK, trained_length=LONGEST)
    start = structured(shape, vocabulary(tokenizer), given.seed)
    trainer = Trainer(config, start, given.device)
    if (given.out / "checkpoint.safetensors").exists():
        trainer.load(given.out / "checkpoint.safetensors")
    checking = Rows(tokenizer, Paragraphs(given.corpus, "validation"), unseen=True)
    checks = [checking.batch(3 * LONGEST // 2 // length, length, _CHECK_SEED) for length in _CHECKED]
    train(
        trainer,
        Steps(Rows(tokenizer, paragraphs), given.seed, int(given.tokens), given.step_tokens),
        checks,
        given.out,
        given.seconds,
        given.workers,
    )
    for path in given.tokenizer.iterdir():
        shutil.copyfile(path, given.out / "best" / path.name)


if __name__ == "__main__":
    main()
