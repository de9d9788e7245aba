"""What is on disk of a run before its next stage starts, so that nothing of it is lost."""
