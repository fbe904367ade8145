"""The services of PAS, each a port with pages of its own: thin views on what the core knows."""
