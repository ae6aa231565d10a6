"""What page faults cost defended predictions of 256 images: processor time and faults.

    OMP_NUM_THREADS=1 python benchmarks/page_faults.py pytorch lenet5 20

Run it with and without the settings of glibc in `docs/speed.md`.
"""

import argparse
import resource

import speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("framework", choices=speed.IMAGES)
    parser.add_argument("model", help="of the zoo")
    parser.add_argument("times", type=int, help="how many predictions")
    options = parser.parse_args()
    speed.keep_to_one_thread(options.framework)
    estimator = speed.zoo_classifier(options.framework, options.model)
    x = speed.noise(speed.BATCH, estimator.input_shape)
    defended = speed.fitted(estimator, 512).attach(estimator)
    defended.predict(x, batch_size=speed.BATCH)
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(options.times):
        defended.predict(x, batch_size=speed.BATCH)
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{options.framework}, {options.model}: user {after.ru_utime - before.ru_utime:.2f} s, "
        f"system {after.ru_stime - before.ru_stime:.2f} s, "
        f"{after.ru_minflt - before.ru_minflt:,} page faults"
    )


if __name__ == "__main__":
    main()
