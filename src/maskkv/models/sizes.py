"""How many weights a model has, and the bytes that they and its MLPs take, told from its config."""

from __future__ import annotations

from maskkv.models.config import ModelConfig
from maskkv.ops.linear import stored_bytes

_FP32, _INT64 = 4, 8


def parameters(config: ModelConfig) -> int:
    """Count the weights."""
    layers = range(config.num_layers)
    return _beside(config) + sum(outputs * inputs for layer in layers for outputs, inputs in _matrices(config, layer))


def weight_bytes(config: ModelConfig, itemsize: int, quantize: str | None = None) -> int:
    """Return the bytes of the weights, `itemsize` each; the layers' matrices may be quantised, for a GPU.

    A router that computes in fp32 has its own weights in it.
    """
    layers = range(config.num_layers)
    matrices = (each for layer in layers for each in _matrices(config, layer))
    stored = sum(stored_bytes(quantize, outputs, inputs, itemsize) for outputs, inputs in matrices)
    exact = _exact(config)
    return (_beside(config) - exact) * itemsize + exact * _FP32 + stored


def idle_parameters(config: ModelConfig) -> int:
    """Count the weights of the experts that a row is not sent to, in all layers."""
    layers = range(config.num_layers)
    return sum(mlp_parameters(config, layer) - mlp_parameters(config, layer, active=True) for layer in layers)


def active_parameters(config: ModelConfig) -> int:
    """Count the weights that a row is computed with: of the embedding it reads one row, which is left out."""
    embedding = 0 if config.tied_head else config.vocab_size * config.hidden_size
    return parameters(config) - idle_parameters(config) - embedding


def mlp_parameters(config: ModelConfig, layer: int, *, active: bool = False) -> int:
    """Count the weights of a layer's MLP, or (`active`) those that a row is computed with."""
    experts = config.experts_of(layer)
    if experts is None:
        return 3 * config.hidden_size * config.mlp_size
    widths = (experts.chosen if active else len(experts.here)) * experts.size + experts.shared_size
    return config.hidden_size * (3 * widths + experts.count) + experts.count * experts.bias


def mlp_row_bytes(config: ModelConfig, itemsize: int) -> int:
    """Return the bytes that an MLP has alive for a row beside its input and output.

    Of experts it is the most, which is needed if all rows go to the same; `itemsize` is the bytes of a number.
    """
    experts, dense = config.experts, 3 * config.mlp_size * itemsize
    if experts is None:
        return dense
    ranks = experts.count * (_FP32 + _INT64)
    routed = experts.chosen * (2 * itemsize + 3 * _INT64)
    expert = (3 * experts.size + 2 * config.hidden_size) * itemsize
    scoring = experts.count * (itemsize + 3 * _FP32 + _INT64)
    if experts.groups is not None:
        # Scores are made of rows in fp32, in which the experts' outputs are weighted and added up.
        expert += 2 * config.hidden_size * (_FP32 - itemsize)
        widened = config.hidden_size * _FP32 if itemsize < _FP32 else 0
        scoring = max(widened + experts.count * _FP32, experts.count * (4 * _FP32 + _INT64))
    shared = (config.hidden_size * bool(experts.shared_size) + 3 * experts.shared_size) * itemsize
    return max(dense, scoring, ranks + routed + max(expert, shared))


def _matrices(config: ModelConfig, layer: int) -> list[tuple[int, int]]:
    """List the outputs and inputs of a layer's matrices, those that choose experts left out."""
    hidden, experts = config.hidden_size, config.experts_of(layer)
    queries, pairs = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    attention = [(queries, hidden), (pairs, hidden), (pairs, hidden), (hidden, queries)]
    if experts is None:
        return [*attention, *_gated(hidden, config.mlp_size)]
    shared = _gated(hidden, experts.shared_size) if experts.shared_size else []
    return [*attention, *len(experts.here) * _gated(hidden, experts.size), *shared]


def _gated(hidden: int, size: int) -> list[tuple[int, int]]:
    return [(size, hidden), (size, hidden), (hidden, size)]


def _beside(config: ModelConfig) -> int:
    """Count the weights outside those matrices: the vocabulary's, norms, biases, and what chooses experts."""
    queries, pairs = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    layer = 2 * config.hidden_size + 2 * config.head_dim * config.qk_norm + (queries + 2 * pairs) * config.qkv_bias
    vocabulary = config.vocab_size * config.hidden_size * (1 if config.tied_head else 2)
    return config.num_layers * layer + vocabulary + config.hidden_size + _routers(config)


def _routers(config: ModelConfig) -> int:
    experts = config.experts
    return 0 if experts is None else len(experts.layers) * experts.count * (config.hidden_size + experts.bias)


def _exact(config: ModelConfig) -> int:
    """Count the weights that stay in fp32."""
    return 0 if config.experts is None or config.experts.groups is None else _routers(config)
