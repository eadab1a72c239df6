"""What a step costs: bytes alive, floating-point operations, seconds; `python -m maskkv.bench` prints them."""
