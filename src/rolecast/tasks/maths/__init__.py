"""Mathematics: the answer is checked by computing it, in the process of `rolecast.proofs`."""
