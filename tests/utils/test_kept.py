"""What is kept from one batch to the next."""

import copy
import pickle

from art_nip.utils.kept import Kept


def test_a_value_is_made_once_for_its_key():
    kept, made = Kept(2), []

    def value(key):
        return kept.get(key, lambda: made.append(key) or key * 2)

    assert [value("a"), value("a"), value("b"), value("a")] == ["aa", "aa", "bb", "aa"]
    assert made == ["a", "b"]


def test_what_was_not_asked_for_longest_makes_room():
    kept, made = Kept(2), []
    for key in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(key, lambda key=key: made.append(key) or key) == key
        assert len(kept) <= 2
    assert made == ["a", "b", "c", "b"]


def test_the_oldest_value_makes_room():
    kept = Kept(2)
    for key in "abc":
        kept.get(key, lambda key=key: key)
    assert len(kept) == 2
    assert kept.get("c", lambda: "made anew") == "c"
    assert kept.get("a", lambda: "made anew") == "made anew"


def test_copies_are_empty():
    kept = Kept(3)
    kept.get("a", object)
    for other in (copy.copy(kept), copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert len(other) == 0
        assert len(kept) == 1
