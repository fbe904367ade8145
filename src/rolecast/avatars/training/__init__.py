"""Trains models: an adapter over a small base, or a small transformer from nothing, by PyTorch or MLX."""
