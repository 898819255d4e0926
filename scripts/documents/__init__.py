"""The documents that are computed: `make documents` writes them, and tests compare them with code and results."""
