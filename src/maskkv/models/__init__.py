"""The transformer and the model families that it can be."""
