"""The random numbers that all of a process shares are nobody's: requests on other threads would draw from them too."""

import subprocess
import sys

PROGRAM = """
import random
import numpy, torch
import maskkv
from maskkv.server.app import create_app
from maskkv.server.settings import ServerSettings

llm = maskkv.load(budget=8)

def states():
    return random.getstate(), torch.get_rng_state().tolist(), str(numpy.random.get_state())

llm.generate("the", gen_length=8)  # what is imported late may draw once
before = states()
create_app(llm, "mini", ServerSettings())
drawn = {"gen_length": 8, "temperature": 1.0}
for fields in (
    {"policy": "random"}, {"remasking": "random"}, {"alg": "origin"}, {"alg": "entropy", "alg_temp": 1.0},
    {"alg": "maskgit_plus", "top_p": 0.9, "top_k": 5}, {"cfg_scale": 1.0}, {"threshold": 0.9},
):
    llm.generate("the gentle hunter listened .", **drawn, **fields)
    assert states() == before, fields
"""


def test_answers_draw_from_no_generator_that_others_share():
    # In a process without checks of types, which draw.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
