"""The vocabulary in which eviction policies are written."""
