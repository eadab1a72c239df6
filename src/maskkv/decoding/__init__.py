"""The denoising loop: from token ids to token ids, step by step."""
