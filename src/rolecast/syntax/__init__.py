"""The syntax of source code, read by real parsers in a process of its own (`processes/helper.py` starts it).

What is parsed was written by a model or by a stranger: a parser may take for ever on it, fill the memory or fall over,
and only this process pays. `parsers.py` knows the languages, `worker.py` is the process. Nothing is executed.
"""
