"""Makes examples to learn from of conversations: cleaned, without what is private, without repetition, split."""
