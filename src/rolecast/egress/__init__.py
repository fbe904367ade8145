"""What leaves this machine: what is taken out before, and what is written down of it."""
