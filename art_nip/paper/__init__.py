"""The paper's tables and figures, each in one file: measured, as a table and as a figure.

`art_nip.paper.registry` lists them; `art-nip paper` makes them.
"""
