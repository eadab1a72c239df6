"""Mask-Voting (arXiv 2510.09309, Tables 2 and 7): MaskKV's votes alone, with uniform budgets."""

from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import Votes

POLICY = Policy(name="mask-voting", paper="arXiv 2510.09309", scorer=Votes(voters="mask"))
