"""What a policy with its budget is called in tables and figures."""


def label(policy: object, budget: object = None, kv_dtype: object = None) -> str:
    """Name a policy, with its budget if it has one, and with the kept pairs' dtype if one was chosen.

    >>> label("maskkv", 64), label("full", None, "auto"), label("maskkv", 64, "int8")
    ('maskkv 64', 'full', 'maskkv 64 int8')
    """
    return " ".join(str(part) for part in (policy, budget, kv_dtype) if part not in (None, "auto"))
