"""Running Flower: a SuperLink of ours, a run on it, and going on with one."""
