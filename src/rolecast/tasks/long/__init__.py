"""Texts of any length: they are read in parts where a model cannot hold them, and summed up in so many words."""
