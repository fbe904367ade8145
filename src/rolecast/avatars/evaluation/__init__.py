"""Judges a trained model: what it learnt, what it forgot, and what it gives away."""
