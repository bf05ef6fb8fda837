"""Algorithms of the pipeline in the manner of the original Ziggy."""
