"""The sections of the exploration, one module a part: what was measured, as prose, figures, tables and pictures."""
