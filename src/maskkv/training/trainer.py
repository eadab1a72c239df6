"""A model in training: its weights in float32, a copy in the dtype that computes, and two optimisers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from maskkv.models.families import llada
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import multiplies
from maskkv.training import forward
from maskkv.training.optim import Muon

MUON_RATE, ADAM_RATE = 0.02, 3e-3
_WARM_UP = 50


@dataclass(frozen=True)
class Batch:
    """Token ids [rows, length] with masks, and what the masks hide.

    `where` are indices into the flattened ids, `targets` the tokens there, `weights` their part of the loss.
    """

    ids: Tensor
    where: Tensor
    targets: Tensor
    weights: Tensor


class Trainer:
    """Learn from batches; a checkpoint carries all that a resumed run needs."""

    def __init__(self, config: Mapping[str, object], start: Mapping[str, Tensor], device: str = "cpu") -> None:
        """Build the model of a published LLaDA config from weights by their published names."""
        self.config = config
        self.step, self.tokens = 0, 0
        settings = llada.read_config(dict(config))
        self.device = torch.device(device)
        half = multiplies(self.device, torch.bfloat16) is not False
        dtype = torch.bfloat16 if half else torch.float32
        self.model = Transformer(settings, chunk_rows=2**30).to(self.device, dtype)
        names = llada.weight_names(settings)
        self.working = {names[name]: weight for name, weight in self.model.named_parameters()}
        self.master = {name: nn.Parameter(start[name].to(self.device)) for name in self.working}
        matrices = [name for name in self.master if ".blocks." in name and "norm" not in name]
        self.others = [weight for name, weight in self.master.items() if name not in matrices]
        self.muon = Muon([self.master[name] for name in matrices])
        self.adam = torch.optim.AdamW(self.others, betas=(0.9, 0.98), weight_decay=0.0)
        self._round()

    def learn(self, batches: Sequence[Batch], factor: float) -> float:
        """Take one step on some batches with `factor` times the base rates; return the mean loss."""
        total = torch.zeros((), device=self.device)
        for drawn in batches:
            loss = self.loss(drawn)
            loss.backward()
            total += loss.detach() / len(batches)
            self._gather(len(batches))
            self.tokens += drawn.ids.numel()
        factor *= min(1.0, (self.step + 1) / _WARM_UP)
        nn.utils.clip_grad_norm_(self.others, 1.0)
        self.muon.step(MUON_RATE * factor)
        self.adam.param_groups[0]["lr"] = ADAM_RATE * factor
        self.adam.step()
        self._round()
        for weight in self.master.values():
            weight.grad = None
        self.step += 1
        return total.item()

    def loss(self, drawn: Batch) -> Tensor:
        """Return the weighted cross entropy of what a batch's masks hide."""
        predicted = forward.logits(self.model, drawn.ids, drawn.where)
        losses = F.cross_entropy(predicted.float(), drawn.targets.to(self.device), reduction="none")
        return losses @ drawn.weights.to(self.device)

    def save(self, path: Path) -> None:
        """Write what `load` needs, whole or not at all."""
        state = {f"master.{name}": weight.detach() for name, weight in self.master.items()}
        state |= {f"muon.{index}": buffer for index, buffer in enumerate(self.muon.buffers)}
        for index, moments in self.adam.state_dict()["state"].items():
            state |= {f"adam.{index}.{name}": moment for name, moment in moments.items()}
        partial = path.with_suffix(".partial")
        save_file(state, partial, metadata={"step": str(self.step), "tokens": str(self.tokens)})
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from where a run was saved, on this or another kind of device."""
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            self.step, self.tokens = (int(file.metadata()[name]) for name in ("step", "tokens"))
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
