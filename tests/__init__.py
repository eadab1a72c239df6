"""Tests, laid out like src/maskkv; what several of them share is imported as `tests.…`."""
