"""Tests of the bundled dLLM: its benchmark and its weights."""
