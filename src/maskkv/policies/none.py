"""No cache at all: every step recomputes the prompt and the response. The reference."""

from maskkv.eviction.policy import Policy

POLICY = Policy(name="none", paper="arXiv 2502.09992", cached=False)
