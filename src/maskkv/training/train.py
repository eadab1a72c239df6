"""Train the bundled dLLM from scratch: `python -m maskkv.training.train --out DIR [--resume]`.

Short documents first, for lookups form there; then longer ones, the last stage at the lengths that the model
claims while the rates fall to zero. Everything is seeded; a checkpoint carries all that a resumed run needs.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from maskkv.mini import FIRST_TRAINING_SEED, words
from maskkv.training.data import BROAD, IDS, LONG_ANSWERS, Mix, batch
from maskkv.training.export import config, export
from maskkv.training.init import Shape, structured
from maskkv.training.trainer import Batch, Trainer

_PARTS, _PART_SEEDS = 2, 5 * 10**6
_SAVE_EVERY = 100
_REPORT_EVERY = 50
# Question words stand where facts stand, and are no answers.
_SILENT = ("what", "who", "which", "?")


@dataclass(frozen=True)
class Stage:
    """Steps of about `tokens` tokens at `lengths` in turn; the rates go from one factor to the other."""

    lengths: tuple[int, ...]
    tokens: int
    steps: int
    first: float
    last: float
    mix: Mix = BROAD


STAGES = (
    Stage((72, 136), 6144, 200, 0.7, 0.7),
    Stage((136, 264, 520), 8320, 240, 0.65, 0.55),
    Stage((1048, 264, 1056, 520), 8384, 700, 0.5, 0.45),
    Stage((1048, 264, 1056, 520), 8384, 1900, 0.45, 0.0, LONG_ANSWERS),
)


def trainer(shape: Shape, seed: int, trained_length: int) -> Trainer:
    """Make the word-list model as it starts."""
    categories = [[IDS[word] for word in category] for category in words.CATEGORIES]
    start = structured(shape, IDS[words.MASK], [IDS[word] for word in _SILENT], categories, seed)
    return Trainer(config(shape, trained_length), start)


def longest(stages: Sequence[Stage]) -> int:
    """Return the most tokens of a sequence."""
    return max(length for stage in stages for length in stage.lengths)


def schedule(stages: Sequence[Stage]) -> Iterator[tuple[Stage, float]]:
    """Yield each step's stage and its factor on the rates."""
    for stage in stages:
        for done in range(stage.steps):
            yield stage, stage.first + (stage.last - stage.first) * done / stage.steps


def draw(stage: Stage, seed: int, step: int) -> list[Batch]:
    """Make the batches of one step: two of half the size, so that two cores can share a step."""
    length = stage.lengths[step % len(stage.lengths)]
    rows = max(1, stage.tokens // length // _PARTS)
    first = FIRST_TRAINING_SEED + seed * 10**7 + step
    return [batch(rows, length, first + part * _PART_SEEDS, stage.mix) for part in range(_PARTS)]


def train(trained: Trainer, shape: Shape, seed: int, stages: Sequence[Stage], out: Path) -> list[float]:
    """Run the steps that are left, with checkpoints in `out`, and write the model there; return the losses."""
    out.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    began = time.monotonic()
    for stage, factor in islice(schedule(stages), trained.step, None):
        losses.append(trained.learn(draw(stage, seed, trained.step), factor))
        if trained.step % _REPORT_EVERY == 0:
            recent = losses[-_REPORT_EVERY:]
            print(
                f"step {trained.step}  length {max(stage.lengths)}  loss {sum(recent) / len(recent):.3f}"
                f"  {time.monotonic() - began:.0f} s",
                flush=True,
            )
        if trained.step % _SAVE_EVERY == 0:
            trained.save(out / "checkpoint.safetensors")
    trained.save(out / "checkpoint.safetensors")
    export(trained.master, shape, longest(stages), out)
    return losses


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the finished model")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    shape = Shape(len(words.VOCABULARY))
    trained = trainer(shape, given.seed, longest(STAGES))
    if given.resume:
        trained.load(given.out / "checkpoint.safetensors")
    train(trained, shape, given.seed, STAGES, given.out)


if __name__ == "__main__":
    main()
