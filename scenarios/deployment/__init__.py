"""Real machines: the coordinator, its certificates and nodes, a hospital's client."""
