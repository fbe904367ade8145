"""Ports: connections, framing, who may come in."""
