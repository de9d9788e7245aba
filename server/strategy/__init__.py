"""How a course is worked off: stage after stage, or in rounds."""
