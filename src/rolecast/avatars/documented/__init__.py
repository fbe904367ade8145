"""The Python classes that Avatar SLM documents, over ours: the same names, arguments and files."""
