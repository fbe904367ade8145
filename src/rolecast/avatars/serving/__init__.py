"""Released avatars as models of the gateway: versions, shares, the way back, and what is withdrawn."""
