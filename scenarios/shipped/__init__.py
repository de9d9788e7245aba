"""The model that comes with Wardround: its weights, its card, and where they are."""
