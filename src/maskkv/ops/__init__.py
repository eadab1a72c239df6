"""Pure tensor functions that do not know why they are called."""
