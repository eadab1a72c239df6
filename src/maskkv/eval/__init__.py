"""Benchmarks: documents, questions and expected answers, and what each policy makes of them."""
