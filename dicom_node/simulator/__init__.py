"""A simulated scanner and its phantoms: makes studies for the demo, the tests and site acceptance."""
