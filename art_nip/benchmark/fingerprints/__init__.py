"""What determines a result, as one short text: the key under which it is stored.

Two objects have one fingerprint if their classes, the code of these and their states are equal, in
any process. Code of installed packages counts by their versions.
"""

from art_nip.benchmark.fingerprints.installed import own_code, versions
from art_nip.benchmark.fingerprints.values import fingerprint, made_as_art_does

__all__ = ["fingerprint", "made_as_art_does", "own_code", "versions"]
