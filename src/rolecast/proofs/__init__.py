"""Checks of what a model says is the answer of a mathematical problem, from the problem's own words.

`answer.py` finds the final answer in a text and imports nothing heavy; all else runs in a process beside the gateway
(`child.py`), where each check is a process of its own with little time and memory (`box.py`). `judge.py` asks the
`kinds` whether one knows the whole problem for certain; such a `Claim` (`claims.py`) then compares. Nothing here hands
a text to an evaluator: `plain.py` rewrites notation and `reader.py` builds expressions token by token, within bounds.
What is not read wholly is not judged.
"""
