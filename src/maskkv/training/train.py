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

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from maskkv.mini import FIRST_TRAINING_SEED, words
from maskkv.models.families import llada
from maskkv.models.transformer import Transformer
from maskkv.training import forward
from maskkv.training.data import BROAD, IDS, LONG_ANSWERS, Batch, Mix, batch
from maskkv.training.export import config, export
from maskkv.training.init import Shape, structured
from maskkv.training.optim import Muon

MUON_RATE, ADAM_RATE = 0.02, 3e-3
_WARM_UP = 50
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


class Trainer:
    """A model in bfloat16, its weights in float32, and the two optimisers that move them."""

    def __init__(self, shape: Shape, seed: int, trained_length: int) -> None:
        self.shape, self.seed, self.trained_length = shape, seed, trained_length
        self.step = 0
        settings = llada.read_config(config(shape, trained_length))
        self.model = Transformer(settings, chunk_rows=2**30).to(torch.bfloat16)
        names = llada.weight_names(settings)
        self.working = {names[name]: weight for name, weight in self.model.named_parameters()}
        categories = [[IDS[word] for word in category] for category in words.CATEGORIES]
        start = structured(shape, IDS[words.MASK], [IDS[word] for word in _SILENT], categories, seed)
        self.master = {name: nn.Parameter(start[name]) for name in self.working}
        matrices = [name for name in self.master if ".blocks." in name and "norm" not in name]
        self.others = [weight for name, weight in self.master.items() if name not in matrices]
        self.muon = Muon([self.master[name] for name in matrices])
        self.adam = torch.optim.AdamW(self.others, betas=(0.9, 0.98), weight_decay=0.0)
        self._round()

    def learn(self, batches: Sequence[Batch], factor: float) -> float:
        """Take one step on some batches with `factor` times the base rates; return the mean loss."""
        total = 0.0
        for drawn in batches:
            predicted = forward.logits(self.model, drawn.ids, drawn.where)
            loss = F.cross_entropy(predicted.float(), drawn.targets, reduction="none") @ drawn.weights
            loss.backward()
            total += loss.item() / len(batches)
            self._gather(len(batches))
        factor *= min(1.0, (self.step + 1) / _WARM_UP)
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.muon.step(MUON_RATE * factor)
        self.adam.param_groups[0]["lr"] = ADAM_RATE * factor
        self.adam.step()
        self._round()
        for weight in self.master.values():
            weight.grad = None
        self.step += 1
        return total

    def save(self, path: Path) -> None:
        """Write what `load` needs, whole or not at all."""
        state = {f"master.{name}": weight.detach() for name, weight in self.master.items()}
        state |= {f"muon.{index}": buffer for index, buffer in enumerate(self.muon.buffers)}
        for index, moments in self.adam.state_dict()["state"].items():
            state |= {f"adam.{index}.{name}": moment for name, moment in moments.items()}
        partial = path.with_suffix(".partial")
        save_file(state, partial, metadata={"step": str(self.step)})
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from where a run was saved."""
        with safe_open(path, framework="pt") as file:
            self.step = int(file.metadata()["step"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        self.muon.buffers = [state[f"muon.{index}"] for index in range(len(self.muon.buffers))]
        adam = self.adam.state_dict()
        for key, moment in state.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                adam["state"].setdefault(int(index), {})[name] = moment
        self.adam.load_state_dict(adam)
        with torch.no_grad():
            for name, weight in self.master.items():
                weight.copy_(state[f"master.{name}"])
        self._round()

    def export(self, folder: Path) -> None:
        """Write the model in LLaDA's published layout."""
        export(self.master, self.shape, self.trained_length, folder)

    def _gather(self, parts: int) -> None:
        """Add the gradients of one of `parts` batches, in float32."""
        for name, weight in self.working.items():
            assert weight.grad is not None, "every weight takes part in every step"
            share = weight.grad.float() / parts
            before = self.master[name].grad
            self.master[name].grad = share if before is None else before + share
            weight.grad = None

    @torch.no_grad()
    def _round(self) -> None:
        """Copy the weights into the model that computes."""
        for name, weight in self.working.items():
            weight.copy_(self.master[name])


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


def train(trainer: Trainer, stages: Sequence[Stage], out: Path) -> list[float]:
    """Run the steps that are left, with checkpoints in `out`, and write the model there; return the losses."""
    out.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    began = time.monotonic()
    for stage, factor in islice(schedule(stages), trainer.step, None):
        losses.append(trainer.learn(draw(stage, trainer.seed, trainer.step), factor))
        if trainer.step % _REPORT_EVERY == 0:
            recent = losses[-_REPORT_EVERY:]
            print(
                f"step {trainer.step}  length {max(stage.lengths)}  loss {sum(recent) / len(recent):.3f}"
                f"  {time.monotonic() - began:.0f} s",
                flush=True,
            )
        if trainer.step % _SAVE_EVERY == 0:
            trainer.save(out / "checkpoint.safetensors")
    trainer.save(out / "checkpoint.safetensors")
    trainer.export(out)
    return losses


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the finished model")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    longest = max(length for stage in STAGES for length in stage.lengths)
    trainer = Trainer(Shape(len(words.VOCABULARY)), given.seed, trained_length=longest)
    if given.resume:
        trainer.load(given.out / "checkpoint.safetensors")
    train(trainer, STAGES, given.out)


if __name__ == "__main__":
    main()
