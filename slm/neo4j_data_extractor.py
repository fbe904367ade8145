"""`from slm.neo4j_data_extractor import Neo4jDataExtractor, ExtractionConfig`, as documented."""

from rolecast.avatars.documented.extractor import ExtractionConfig, Neo4jDataExtractor
from rolecast.avatars.documented.sequences import ConversationNode, ConversationSequence, TrainingExample

__all__ = ["ConversationNode", "ConversationSequence", "ExtractionConfig", "Neo4jDataExtractor", "TrainingExample"]
