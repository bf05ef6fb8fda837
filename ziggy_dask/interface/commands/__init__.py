"""The commands of ``ziggy``, a module for each group."""
