"""Figures of images before and after attacks, of effects on neurons, and of how defences do.

Each function returns a matplotlib figure that is shown in no window and kept in no global state:
`figure.savefig("file.png")` writes it.
"""

from art_nip.plots.charts import Rate, rates, sweep
from art_nip.plots.drawing import INK
from art_nip.plots.images import adversarial_grid, image_grid
from art_nip.plots.neurons import influence_bars

__all__ = ["INK", "Rate", "adversarial_grid", "image_grid", "influence_bars", "rates", "sweep"]
