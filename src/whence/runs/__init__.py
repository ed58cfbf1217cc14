"""Runs: one directory per study, the stages that it keeps, and the studies that fill it."""
