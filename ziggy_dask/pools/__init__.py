"""Pools: jobs of batch systems, as many as there is work for."""
