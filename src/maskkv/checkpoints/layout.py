"""Which published tensors hold a model's parameters: they may be joined there, or lie apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from maskkv.models import families
from maskkv.models.published import Names
from maskkv.models.transformer import Transformer


@dataclass(frozen=True)
class Layout:
    """Hold the names that a family's files have for the parameters, and the parameters' shapes.

    A tied head is no parameter of its own: `optional` names the tensor by which a file may repeat it. `exact` names the
    tensors of parameters that stay in fp32 whatever the dtype of the model.
    """

    names: Names
    shapes: Mapping[str, tuple[int, ...]]
    optional: tuple[str, ...] = ()
    exact: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: Transformer) -> Layout:
        """Return the layout of the files of a model's family; its weights may be on the meta device."""
        names = dict(families.weight_names(model.config))
        shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        exact = frozenset(tensor for name in model.exact for tensor in _several(names[name]))
        optional = _several(names.pop("head.weight")) if model.config.tied_head else ()
        return cls(names, shapes, optional, exact)

    def dtype_of(self, tensor: str, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of a published tensor in a model of some dtype."""
        return torch.float32 if tensor in self.exact else dtype

    def holding(self, parameter: str) -> tuple[str, ...]:
        """Return the published tensors that hold a parameter."""
        return _several(self.names[parameter])

    def published(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each published tensor."""
        found: dict[str, tuple[int, ...]] = {}
        for tensor, joined in self._joined().items():
            shapes = [self.shapes[name] for name in joined]
            found[tensor] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        for name, apart in self._apart().items():
            found |= dict.fromkeys(apart, self.shapes[name][1:])
        return found

    def read(
        self,
        tensor: Callable[[str], Tensor],
        wanted: Set[str] | None = None,
        take: Callable[[str, Tensor], Tensor] = lambda name, whole: whole,
    ) -> dict[str, Tensor]:
        """Return what is to be taken of the parameters that are wanted (None: all), given how to read a tensor.

        Each is read once, or not at all.
        """
        found: dict[str, Tensor] = {}
        for published, joined in self._joined().items():
            if wanted is not None and wanted.isdisjoint(joined):
                continue
            parts = tensor(published).split([self.shapes[name][0] for name in joined])
            found |= {name: take(name, part) for name, part in zip(joined, parts, strict=True)}
        for name, apart in self._apart().items():
            found[name] = take(name, torch.stack([tensor(each) for each in apart]))
        return found

    def written(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the published tensors of a model with these parameters: the reverse of `read`."""
        found: dict[str, Tensor] = {}
        for published, joined in self._joined().items():
            parts = [parameters[name] for name in joined]
            found[published] = torch.cat(parts) if len(parts) > 1 else parts[0]
        for name, apart in self._apart().items():
            found |= zip(apart, parameters[name], strict=True)
        return found

    def _joined(self) -> dict[str, list[str]]:
        """Return the parameters that lie below each other in each published tensor, mostly a single one."""
        found: dict[str, list[str]] = {}
        for name, published in self.names.items():
            if isinstance(published, str):
                found.setdefault(published, []).append(name)
        return found

    def _apart(self) -> dict[str, tuple[str, ...]]:
        """Return the published tensors of each parameter that is a stack of several."""
        return {name: published for name, published in self.names.items() if not isinstance(published, str)}


def _several(published: str | tuple[str, ...]) -> tuple[str, ...]:
    return (published,) if isinstance(published, str) else published
