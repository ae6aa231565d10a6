"""What a first look in half precision changes: candidates found, and images repaired.

    OMP_NUM_THREADS=1 python experiments/look.py gtsrb-lenet5 \
        --data data --weights weights [--images 400] [--bank 2000]

Held-out and oblivious, as in `class_evidence.py`. The fit is exact, and the same for all looks.
"""

import argparse
import platform
from datetime import date
from pathlib import Path

import numpy as np
from class_evidence import Setting, adversarial, fitted
from expectations import cell

from art_nip.metrics import accuracy, defence_success_rate
from art_nip.utils.seeds import seeded

ATTACKS = ("fgsm 4", "pgd 4", "targeted pgd 8")
LOOKS = ("float32", "bfloat16", "float16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting", choices=("gtsrb-lenet5", "gtsrb-resnet20", "cifar10-vgg19"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--bank", type=int, default=2000)
    parser.add_argument("--looks", nargs="+", choices=LOOKS, default=LOOKS)
    options = parser.parse_args()
    setting = Setting(options.setting, options.data, options.weights, False, options.images)
    classifier, x, y = setting.classifier, setting.x, setting.y
    attacked = {name: adversarial(setting, name, None, "") for name in ATTACKS}
    benign = classifier.predict(x).argmax(1)
    bare = {name: classifier.predict(images).argmax(1) for name, images in attacked.items()}
    print(f"{options.setting}, {len(y)} images, {platform.machine()}, {date.today()}\n")
    heads = ["retrieval", "look", "as exact", "benign", *ATTACKS]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for retrieval in ("similarity", "nearest", "class"):
        nip = fitted(setting, options.bank, retrieval=retrieval, bank_dtype="uint8", verbose=False)
        exact = nip.evidence(x).argmax(1) if retrieval == "class" else nip.retrieve(x)
        for look in options.looks:
            nip.set_params(look=look)
            found = nip.evidence(x).argmax(1) if retrieval == "class" else nip.retrieve(x)
            with seeded(0):
                defended = classifier.predict(nip(x)[0]).argmax(1)
                rates = [
                    defence_success_rate(
                        y, benign, bare[name], classifier.predict(nip(images)[0]).argmax(1)
                    )
                    for name, images in attacked.items()
                ]
            cells = [cell(rate) for rate in (accuracy(y, defended), *rates)]
            same = np.mean(found == exact)
            print(f"| {retrieval} | {look} | {same:.3f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
