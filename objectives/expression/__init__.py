"""Which emotion does a face show, and which of its action units move? `objective` is the question itself."""
