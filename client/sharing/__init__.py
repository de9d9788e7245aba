"""What comes in from other hospitals and what goes out to them."""
