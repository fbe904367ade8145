"""What is written down durably, and where."""
