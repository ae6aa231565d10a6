"""What the results say: the table, the worst case, curves, the checklist, and what failed."""
