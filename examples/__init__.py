"""Programs to start from. Import paths that documents of other systems name lead to Rolecast."""
