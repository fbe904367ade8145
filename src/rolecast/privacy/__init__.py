"""Finds what is private in a text. Pure; knows no request and no model."""
