"""Tasks of code: completion, generation and review, and what reads what models write of it."""
