"""Makes optimized models run inside other frameworks."""
