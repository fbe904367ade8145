"""Where conversations come from: one file for each kind of export, and Neo4j.

A new kind of export is a file here and a row of `table.SOURCES`.
"""

from rolecast.avatars.sources.bringing import Brought, bring
from rolecast.avatars.sources.table import SOURCES, detect, read

__all__ = ["SOURCES", "Brought", "bring", "detect", "read"]
