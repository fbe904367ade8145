"""Generates with a trained model in this process: the documented Python classes, sampling, conversations."""
