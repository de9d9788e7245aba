"""What travels between coordinator and hospitals, and what both check in it."""
