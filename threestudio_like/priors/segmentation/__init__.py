"""What cuts objects out of pictures."""
