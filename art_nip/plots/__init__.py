"""The pictures: images before and after attacks, what these do to neurons, and how defences fare.

A function returns a matplotlib figure that no window shows and no global state remembers:
`figure.savefig("file.png")` writes it.
"""

from art_nip.plots.charts import Rate, rates, sweep
from art_nip.plots.drawing import INK
from art_nip.plots.images import adversarial_grid, image_grid
from art_nip.plots.neurons import influence_bars

__all__ = ["INK", "Rate", "adversarial_grid", "image_grid", "influence_bars", "rates", "sweep"]
