"""One file per task: how its weights are made."""
