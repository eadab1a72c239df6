"""SnapKV (arXiv 2404.14469): the last prompt rows vote, and a pair has the votes of its neighbours too."""

from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import ObservationWindow

POLICY = Policy(name="snapkv", paper="arXiv 2404.14469", scorer=ObservationWindow())
