"""The faces: command line and Python objects."""
