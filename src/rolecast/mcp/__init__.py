"""Rolecast as a server of the Model Context Protocol: what it can do as tools, resources and prompts.

A client of the gateway's HTTP API like any other: every call is the caller's own, with the caller's key. What MCP
offers is in `methods.py`, in plain JSON values and without the SDK; `server.py` puts it behind the official SDK, which
speaks the protocol on standard input and output (`stdio.py`) and over HTTP (`child.py`, a process beside the gateway
that starts with the first request to `/mcp`); `dispatch.py` answers JSON texts in a process. Nothing here is imported
by the gateway: the SDK takes a second and 45 MB.
"""
