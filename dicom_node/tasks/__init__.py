"""The analysis tasks, one module or small package each."""
