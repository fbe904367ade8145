"""Logs, metrics, and the memory of this process."""
