"""One stage of training: patches, losses, steps, checkpoints."""
