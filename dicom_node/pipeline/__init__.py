"""The story in order: intake, completion, analysis, delivery, commitment, retention."""
