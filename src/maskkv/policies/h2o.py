"""H2O (arXiv 2306.14048): every row votes, prompt and response; MaskKV's All-Voting."""

from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import Votes

POLICY = Policy(name="h2o", paper="arXiv 2306.14048", scorer=Votes(voters="all"))
