"""Every table and figure of the NIP paper, made anew and shown beside the paper's.

`registry` lists them; each is a function from *subjects* (a model with its images) to a table or to
figures. The benchmarks that they read are in `grids`, the paper's own numbers in `published`.
"""
