"""Where conversations come from: one file for each kind of export, and Neo4j."""
