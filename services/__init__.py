"""Import paths that clients of other systems use; each leads to Rolecast."""
