"""The engine: one instance, from a request to its products, and what it leaves on record."""
