"""Which action does an animal perform in every frame? `objective` is the question itself."""
