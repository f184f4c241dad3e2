"""Data sets, recipes (one per task), metrics and evaluation."""
