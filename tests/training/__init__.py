"""Tests of how the bundled dLLM is made."""
