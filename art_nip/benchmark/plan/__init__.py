"""What is to be computed: attacks and defences in one form, the suite, the grid of cells."""
