"""An OpenAI-compatible HTTP server: one thread owns the model, requests join and leave between steps."""
