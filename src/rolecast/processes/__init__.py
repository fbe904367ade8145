"""Children of the gateway. Imported by each of them at its start, so nothing is imported here."""
