"""The kept-token lens: what a policy keeps of a prompt, by layer, head and budget, and the answers either way."""

from maskkv.lens.budget_sweep import BudgetSweep
from maskkv.lens.film import Film, Frame
from maskkv.lens.inspection import Found, Inspection, Progress, Run, inspect, look
from maskkv.lens.page import html, packed, packed_fields, report

__all__ = [
    "BudgetSweep",
    "Film",
    "Found",
    "Frame",
    "Inspection",
    "Progress",
    "Run",
    "html",
    "inspect",
    "look",
    "packed",
    "packed_fields",
    "report",
]
