"""The replay memory: exemplars, what a center contributes, and how that is sealed."""
