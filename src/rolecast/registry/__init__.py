"""Services and providers that register, our own among them: who is there, how they fare, who can do what.

The core is plain state on virtual time; the ports of PAS (`pages/pas/`) and the command line are views on it.
"""
