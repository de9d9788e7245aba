"""The network that travels: its layers, its weights, its file."""
