"""What holds a training to what the model knew when it came, one method a module."""
