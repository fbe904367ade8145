"""One request, from its body to its ledger row."""
