"""What the coordinator and the hospitals must agree on."""
