"""The admin pages and the metrics endpoint."""
