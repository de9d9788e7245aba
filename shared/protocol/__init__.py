"""What hospitals approve before anything runs on their patients, and what follows from it."""
