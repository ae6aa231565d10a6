"""What parameters attacks refuse, before they begin and by name, and what imports they need."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_nip import attacks
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier

BAD = [
    ("pgd", {"eps": 8}, r"'pgd': eps=8; .* share of the range .* mean 8/255\?"),
    ("pgd", {"eps": 8.0}, r"mean 8/255\?"),
    ("pgd", {"eps": -0.1}, "eps=-0.1"),
    ("pgd", {"eps": float("nan")}, "eps=nan"),
    ("pgd", {"eps": np.inf}, "eps=inf"),
    ("pgd", {"eps": True}, "eps=True"),
    ("pgd", {"eps": "8/255"}, "eps='8/255'"),
    ("pgd", {"eps": [0.1, 0.2]}, r"eps=\[0.1, 0.2\]"),
    ("pgd", {"eps_step": "2/255"}, "eps_step='2/255'"),
    ("pgd", {"eps_step": 2}, r"mean 2/255\?"),
    ("pgd", {"max_iter": "ten"}, "max_iter='ten'"),
    ("pgd", {"max_iter": 1e2}, "max_iter=100.0"),
    ("pgd", {"norm": "l2"}, "'pgd': norm='l2'; give 1, 2"),
    ("pgd", {"norm": 3, "eps": 1.0}, "'pgd': norm=3 with num_random_init=1: .* L1, L2 and L∞ only"),
    ("pgd", {"batch_size": 0}, "'pgd': batch_size=0"),
    ("pgd", {"decay": True}, "decay=True; give a finite number"),
    ("pgd", {"decay": np.inf}, "decay=inf"),
    ("pgd", {"norm": 10**400}, "norm=10"),
    ("boundary", {"batch_size": 0}, "'boundary': batch_size=0"),
    ("hopskipjump", {"batch_size": 0}, "'hopskipjump': batch_size=0"),
    ("square", {"loss": "abc"}, "loss='abc'; give a function"),
    ("square", {"adv_criterion": 3}, "adv_criterion=3; give a function"),
    ("uap", {"attacker_params": ""}, "attacker_params=''; give parameters by name"),
    ("cw", {"learning_rate": -1.0}, "learning_rate=-1.0; give a finite number above 0"),
    ("cw", {"initial_const": 0}, "initial_const=0"),
    ("pgd", {"batch_size": True}, "batch_size=True"),
    ("fgsm", {"eps": 300}, r"eps=300; .*images\.$"),
    ("fgsm", {"minimal": 1}, "minimal=1; give True or False"),
    ("jsma", {"theta": 2.0}, "theta=2.0"),
    ("jsma", {"gamma": 2.0}, "'jsma': "),
    ("deepfool", {"nb_grads": 1}, "'deepfool': nb_grads=1; give a whole number of at least 2"),
    ("deepfool", {"epsilon": float("nan")}, "epsilon=nan"),
    ("uap", {"attacker_params": {"eps": 8}}, r"mean 8/255\?"),
    ("uap", {"attacker": 3}, "attacker=3"),
    ("uap", {"attacker": "fgms"}, "'uap': Unknown attacker 'fgms'. Did you mean 'fgsm'"),
    ("uap", {"attacker_params": {"epsilon": 0.1}}, "'uap': The attribute \"epsilon\""),
    ("uap", {"attacker_params": {"eps": -0.1}}, "eps=-0.1"),
    ("uap", {"delta": 3.0}, "'uap': The desired accuracy"),
    ("auna", {"steps": 0}, "'auna': steps=0"),
    ("pwa", {"group_size": 0.5}, "group_size=0.5"),
    ("pixel", {"th": 0}, "'pixel': th=0"),
    ("pixel", {"es": 7}, "'pixel': es=7"),
    ("boundary", {"delta": -1.0}, "'boundary': "),
    ("autoattack", {"norm": "l2"}, "'autoattack': "),
    ("autoattack", {"max_iter": -1}, "max_iter=-1"),
    ("autoattack", {"max_queries": 0}, "max_queries=0"),
    ("autoattack", {"version": "fast"}, "'autoattack': .*version of AutoAttack"),
    ("autoattack-art", {"norm": "l2"}, "'autoattack-art': "),
    ("autoattack-art", {"max_iter": -1}, "max_iter=-1"),
    ("square", {"p_init": 7.0}, "'square': "),
    ("cw", {"confidence": "high"}, "confidence='high'"),
    ("cw", {"initial_const": float("inf")}, "initial_const=inf"),
    ("hopskipjump", {"max_eval": 0}, "'hopskipjump': "),
    ("eot", {"draws": 0}, "'eot': draws=0"),
    ("eot", {"auxiliary": -1.0}, "auxiliary=-1.0"),
    ("bpda", {"straight": "yes"}, "straight='yes'"),
    ("apgd", {"loss_type": "hinge"}, "'apgd': The argument loss_type"),
    ("apgd", {"targets": -1}, "targets=-1"),
    ("noise", {"draws": 0}, "'noise': draws=0"),
    ("noise", {"seed": 1.5}, "seed=1.5"),
    ("steering", {"restarts": 0}, "'steering': restarts=0"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), BAD)
def test_bad_values_are_refused_without_a_classifier(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        attacks.get(name).check_parameters(parameters)
    with pytest.raises(ValueError, match=message):
        attacks.get(name).resolved(parameters)


@pytest.mark.parametrize(("name", "parameters", "message"), BAD)
def test_bad_values_are_refused_when_an_attack_is_made(name, parameters, message, lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(ValueError, match=message):
        attacks.get(name).create(classifier, **parameters)


@pytest.mark.parametrize("name", attacks.NAMES)
def test_what_stands_in_the_registry_is_allowed(name):
    attack = attacks.get(name)
    attack.check_parameters(attack.defaults)
    assert attack.resolved({}) == attack.defaults


def test_numbers_of_numpy_are_numbers(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    given = {"eps": np.float32(0.1), "max_iter": np.int64(3), "batch_size": np.int32(8)}
    attack = attacks.get("pgd").create(classifier, **given).attack
    assert (attack.max_iter, attack.batch_size) == (3, 8)
    assert attack.eps == pytest.approx(0.1)
    assert type(attacks.get("pgd").resolved(given)["max_iter"]) is int
    attacks.get("auna").create(classifier, steps=np.int16(3))
    attacks.get("uap").check_parameters({"attacker_params": {"eps": np.float64(0.1)}})


@given(eps=st.floats() | st.integers() | st.booleans() | st.text(max_size=4) | st.none())
def test_eps_is_a_share_or_refused(eps):
    share = isinstance(eps, (int, float)) and not isinstance(eps, bool) and 0 < eps <= 1
    attack = attacks.get("noise")
    if share or (eps == 0 and not isinstance(eps, bool)):
        assert attack.resolved({"eps": eps})["eps"] == eps
    else:
        with pytest.raises(ValueError, match="'noise': eps="):
            attack.resolved({"eps": eps})


def test_lengths_may_exceed_the_range():
    """In L2, a perturbation is as long as all its values together."""
    for name in ("pgd", "fgsm", "apgd"):
        assert attacks.get(name).resolved({"norm": 2, "eps": 3.0})["eps"] == 3.0


def test_sizes_in_linf_within_an_attack_do_not_follow_a_length():
    resolved = attacks.get("uap").resolved({"norm": 2, "eps": 5.0})
    assert resolved["attacker_params"] == {"eps": 0.1}
    assert attacks.get("uap").resolved({"eps": 0.2})["attacker_params"] == {"eps": 0.05}


@pytest.mark.parametrize("name", ["fgsm", "mifgsm", "pgd", "square", "uap"])
@pytest.mark.parametrize("minimal", [False, True])
def test_a_norm_as_text_is_the_number(name, minimal, classifier, images):
    x, y = (part[:3] for part in images["test"])
    given = {"eps": 3.0, "max_iter": 2} if name != "fgsm" else {"eps": 3.0}
    found = []
    for norm in ("2", 2):
        attack = attacks.get(name).create(classifier, norm=norm, minimal=minimal, **given)
        with seeded(0):
            found.append(attack.generate(x, y))
    np.testing.assert_array_equal(*found)


def test_names_in_capitals_find_the_nearest():
    for name, meant in (("PGD", "pgd"), ("FGSM", "fgsm"), ("DeepFool", "deepfool")):
        with pytest.raises(ValueError, match=f"no attack '{name}'. The nearest is '{meant}'; all"):
            attacks.get(name)
    with pytest.raises(ValueError, match="no attack None"):
        attacks.get(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nearest is 'eps'"):
        attacks.get("pgd").check_parameters({"EPS": 0.1})


def test_a_bare_model_is_no_classifier(framework, lenet):
    wrapper = {"pytorch": "PyTorchClassifier", "tensorflow": "TensorFlowV2Classifier"}[framework]
    for make in (attacks.get("pgd").create, attacks.AdditiveUniformNoise, attacks.RandomNoise):
        with pytest.raises(TypeError, match=rf"wrap it as .*{wrapper}\(model"):
            make(lenet[framework])


def test_importing_names_imports_no_framework():
    """Nor what only benchmarks need; and then an attack is made with one framework alone."""
    script = """
        import sys

        BLOCKED = {"pandas", "pydantic", "yaml", "matplotlib", "tensorflow", "keras", "ray"}

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in BLOCKED:
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Blocked())
        import art_nip.attacks

        found = {"torch", "tensorflow", "pandas", "matplotlib", "art", "cloudpickle", "joblib"}
        assert not found & set(sys.modules), found & set(sys.modules)
        import numpy as np
        import torch
        from art.estimators.classification import PyTorchClassifier

        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        loss = torch.nn.CrossEntropyLoss()
        classifier = PyTorchClassifier(model, loss, (1, 4, 4), 3, clip_values=(0, 1))
        x = np.full((2, 1, 4, 4), 0.5, np.float32)
        attack = art_nip.attacks.get("deepfool").create(classifier, nb_grads=3)
        assert (attack.generate(x) != x).any()
        for name in art_nip.attacks.__all__:
            getattr(art_nip.attacks, name)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
