"""Long work that a gateway does beside answering: with progress, cancelling, a log, and a row for the next start.

A new kind of job = one file with a `Kind` and a row in `kinds.py`; one that runs as a child process has a row in
`worker.py`, too.
"""
