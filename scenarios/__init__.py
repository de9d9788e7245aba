"""What to run: scenario files and the command line."""
