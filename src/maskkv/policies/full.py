"""dLLM-Cache (arXiv 2506.06295): every prompt pair is kept, the response is refreshed row by row."""

from maskkv.eviction.policy import Policy

POLICY = Policy(name="full", paper="arXiv 2506.06295")
