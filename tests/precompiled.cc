// Carries the headers that all tests precompile; holds no code.
