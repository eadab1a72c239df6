"""The kept-token lens: what a policy keeps of a prompt, by layer, head and budget, beside the un-evicted answer."""

from maskkv.lens.inspection import Inspection, Run, inspect
from maskkv.lens.ladder import Ladder
from maskkv.lens.page import html, packed

__all__ = ["Inspection", "Ladder", "Run", "html", "inspect", "packed"]
