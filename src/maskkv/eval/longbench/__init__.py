"""LongBench (arXiv 2308.14508): its 16 English data sets with the settings and scores of its published code."""

from maskkv.eval.longbench.datasets import CATALOGUE, DATASETS, METRICS, PAPER, dataset_score, score

__all__ = ["CATALOGUE", "DATASETS", "METRICS", "PAPER", "dataset_score", "score"]
