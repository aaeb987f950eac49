"""Is there a brainstem response in a waveform, and where is its wave V? `objective` is the question itself."""
