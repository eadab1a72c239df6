"""The kept-token lens: what a policy keeps of a prompt, by layer, head and budget, and the answers either way."""

from maskkv.lens.budget_sweep import BudgetSweep
from maskkv.lens.film import Film, Frame
from maskkv.lens.inspection import Inspection, Run, inspect
from maskkv.lens.page import html, packed, report

__all__ = ["BudgetSweep", "Film", "Frame", "Inspection", "Run", "html", "inspect", "packed", "report"]
