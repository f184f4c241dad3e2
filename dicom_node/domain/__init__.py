"""Frozen records, state tables and clinical formulas; imports numpy only."""
