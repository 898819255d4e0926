"""The figures of the experiments, one module a kind."""
