"""How fast Wardround is: seven figures, each a ratio of two things that were timed by turns on this machine."""
