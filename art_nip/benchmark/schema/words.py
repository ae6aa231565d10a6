"""The words of tables and files."""

from enum import Enum

BENIGN = "benign"
"""The attack's name in cells without an attack."""

NONE = "none"
"""The defence's name in cells without a defence."""

NEAREST = "nearest"
"""The attack's name in rows of the metric `ACCURACY_AT`: all attacks without an ε together."""

ACCURACY_AT = "accuracy_at"
"""The metric of a curve of accuracy against ε, which has a row for each ε and norm."""

LEFT_SO_FAR = "left_so_far"
"""The metric of a cascade that has a row for each of its attacks."""


class Word(str, Enum):
    """Words of tables and files; each is equal to its text, and written as it."""

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


class Protocol(Word):
    """Whether a defence that learns was fitted on other images, or on those that are attacked.

    `RELEASED` is an evaluation and no defence, so no benchmark runs it: as in the released code, an
    image receives the perturbation of its own benign version, whose class may decide the sign; see
    :class:`art_nip.paper.released.ReleasedEvaluation`.
    """

    HELD_OUT = "held-out"
    LEAKED = "leaked"
    RELEASED = "released"


OF_DEFENCES = (Protocol.HELD_OUT, Protocol.LEAKED)
"""The protocols of a benchmark."""


class Norm(Word):
    """How the size of a perturbation of an image in [0, 1] is measured."""

    LINF = "linf"
    L2 = "l2"

    @property
    def sign(self) -> str:
        """How it is written for readers."""
        return "L∞" if self is Norm.LINF else "L2"


class Threat(Word):
    """Whether attacks know of the defence."""

    OBLIVIOUS = "oblivious"
    ADAPTIVE = "adaptive"


class Kind(Word):
    """The kind of a defence: none, a classifier in place of the undefended one (`SUPPRESSING` has
    channel-wise activation suppressing), or a preprocessor in front of it.
    """

    NONE = "none"
    TRAINED = "trained"
    SUPPRESSING = "suppressing"
    PREPROCESSOR = "preprocessor"
    NIP = "nip"


class Role(Word):
    """What an attack is for in the adaptive suite."""

    FGSM = "fgsm"
    PGD = "pgd"
    PGD_LONGER = "pgd, more"
    PGD_UNBOUNDED = "pgd, unbounded"
    APGD_CE = "apgd ce"
    APGD_DLR = "apgd dlr"
    APGD_TARGETED = "apgd targeted"
    BPDA = "bpda"
    AUXILIARY = "auxiliary"
    STEERING = "steering"
    AUTOATTACK = "autoattack"
    SQUARE = "square"
    HOPSKIPJUMP = "hopskipjump"
    NOISE = "noise"
    TRANSFER = "transfer"
    TRANSFER_STEERED = "transfer, steered"
    TRANSFER_2 = "transfer 2ε"
    TRANSFER_4 = "transfer 4ε"
    CASCADE = "cascade"


class Status(Word):
    """What became of an item of the checklist."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"
