"""Fetuses with a malformed brain or an open spine, and without, as an examination shows them."""
