"""How often NIP makes host and device meet while a defended classifier predicts.

ART itself uploads the images, its mean and std and the batch, and downloads the images and the
scores, with NIP and without.
"""

import numpy as np
import pytest

from tests.device.counting import DOWNLOAD, UPLOAD, WAIT, counted
from tests.device.helpers import WAYS, name_of
from tests.nip.helpers import fitted_on

KINDS = (UPLOAD, DOWNLOAD, WAIT)

BATCH = 8

# mean and std are uploaded for each pass through the model.
BUDGETS = {
    "similarity": (4, 0, 1),
    "nearest": (4, 0, 1),
    "views": (10, 3, 1),
    "graded views": (8, 4, 1),
    "shallow": (126, 24, 1),
}
"""The largest numbers of uploads, downloads and waits for a batch.

The wait is for whether values are finite. With class evidence there are more of them the more steps
it takes until the images are settled; "shallow" takes more than 20 here.
"""


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_meetings_for_each_batch(on_device, bank, digits, way):
    nip = fitted_on(on_device, bank, way, batch_size=BATCH)
    defended = nip.attach(on_device)

    def meetings(classifier, batches):
        x = np.tile(digits["test"][0][:BATCH], (batches, 1, 1, 1))
        classifier.predict(x, batch_size=len(x))
        with counted() as found:
            classifier.predict(x, batch_size=len(x))
        return found

    one, three = (meetings(defended, batches) for batches in (1, 3))
    plain = meetings(on_device, 1)
    for kind, budget in zip(KINDS, BUDGETS[name_of(way)], strict=True):
        assert (three.count(kind) - one.count(kind)) / 2 <= budget, f"{kind}, of three: {three}"
        assert one.count(kind) - plain.count(kind) <= budget, f"{kind}, of one: {one}"
