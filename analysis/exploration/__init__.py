"""Data exploration: each part is measured and shown in one file; `report` puts the parts together."""
