"""Prompt-Voting (arXiv 2510.09309, Table 7): every prompt row votes."""

from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import Votes

POLICY = Policy(name="prompt-voting", paper="arXiv 2510.09309", scorer=Votes(voters="prompt"))
