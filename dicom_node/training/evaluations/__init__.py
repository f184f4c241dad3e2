"""What each task is measured by: one module per task, with ``measure``."""
