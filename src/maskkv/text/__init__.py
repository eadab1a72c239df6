"""From text and conversations to token ids, and back."""
