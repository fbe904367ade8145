"""Conversations in a Neo4j: how the two known graphs are read, and how ours are written. `sources.neo4j` is the way in.

What is read first are ids, times and edges; the texts of what is wanted follow page by page. So order, threads and
limits are plain Python over the same values for all types that a time may have in a database.
"""
