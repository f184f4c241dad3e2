"""Schema changes, oldest first; the schema is their sum."""
