"""Who starts the workers."""
