"""Translation: languages by any name, pieces, and what of a text must stay as it is."""
