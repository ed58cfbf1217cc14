"""Curvature and training dynamics: Fisher, EK-FAC, exact solve, SOURCE, MAGIC."""
