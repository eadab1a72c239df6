"""lm-evaluation-harness, with maskkv as one of its models; nothing here is imported unless it is asked for."""
