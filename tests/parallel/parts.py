"""Parts of tiny random models, for processes that import them, and what models answer."""

from dataclasses import dataclass

import torch
from tests.reference import random_model

from maskkv.decoding.engine import Engine
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.config import ModelConfig
from maskkv.models.part import Part
from maskkv.models.transformer import Transformer

CPU = torch.device("cpu")


def part_of(config: ModelConfig, seed: int, part: Part, device: torch.device) -> Transformer:
    whole = random_model(config, seed).state_dict()
    model = Transformer(part.config(config))
    model.load_state_dict({name: part.take(name, whole[name]) for name in model.state_dict()})
    return model.requires_grad_(False).eval()


def failing(part: Part, device: torch.device) -> Transformer:
    raise RuntimeError("no memory for this part")


@dataclass
class Counted:
    tokens: list[int]
    kept: list[list[list[int]]]
    recalled: int
    prompt_passes: int


def answer(model: Transformer, prompts: list[list[int]], settings: Generation, policy: Policy) -> list[Counted]:
    engine = Engine(model)
    numbers = [engine.add(prompt, settings, policy, 6) for prompt in prompts]
    while engine.step():
        pass
    ended = [engine[number] for number in numbers]
    return [Counted(each.response(), each.kept(), each.recalled, each.prompt_passes) for each in ended]


def settings_for(config: ModelConfig, **more: object) -> Generation:
    lengths = {"gen_length": 8} if config.causal_block else {"gen_length": 16, "block_length": 8}
    return Generation(**(lengths | {"stop_at_eos": False} | more))
