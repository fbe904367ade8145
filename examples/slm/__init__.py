"""The example program of Avatar SLM."""
