"""Fixtures that several test files share: generated models, stored models, the acceptance scripts."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Measured choices of kernels stay out of the user's cache.
os.environ["XDG_CACHE_HOME"] = str(ROOT / "build" / "test-cache")


def _generate(example, folder, *options):
    """The folder that an example's generator writes under build/models; nothing is done where it is up to date."""
    out = ROOT / "build" / "models"
    script = ROOT / "examples" / example / "make_model.py"
    subprocess.run([sys.executable, str(script), "--out", str(out), *options], check=True)
    return out / folder


def _shared(name, variable, what):
    """The folder that an environment variable gives, else that of this name beside the tree."""
    folder = pathlib.Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"The {what} are not at {folder}; set {variable} to the folder that holds them.")
    return folder


@pytest.fixture(scope="session")
def resnet50_dir():
    """Folder tf_resnet50_v1.5 with frozen.pb and test_bc{1,2,4,8}.npy; BLADE_RESNET50_DIR gives one that exists."""
    given = os.environ.get("BLADE_RESNET50_DIR")
    return pathlib.Path(given) if given else _generate("resnet50", "tf_resnet50_v1.5")


@pytest.fixture(scope="session")
def mobilenet_v2_dir():
    """Folder with mobilenet_v2.pb and mobilenet_v2.npz."""
    return _generate("mobilenet_v2", "mobilenet_v2")


@pytest.fixture(scope="session")
def bert_tiny_dir():
    """Folder with bert_tiny.pb and bert_tiny.npz."""
    return _generate("bert", "bert_tiny")


@pytest.fixture(scope="session")
def models_dir():
    """Folder of stored models NAME.pb with cases NAME.npz; BLADE_MODELS_DIR, else ../shared/models beside the tree."""
    return _shared("models", "BLADE_MODELS_DIR", "stored models")


@pytest.fixture(scope="session")
def acceptance_dir():
    """Folder of the acceptance scripts; BLADE_ACCEPTANCE_DIR, else ../shared/acceptance beside the tree."""
    return _shared("acceptance", "BLADE_ACCEPTANCE_DIR", "acceptance scripts")


@pytest.fixture(scope="session")
def dynamic():
    """conv_net optimized for batches 1 to 4."""
    import tiny_models
    from optimizing import fast_config, optimize

    config = fast_config()
    config.dynamic_tuning_shapes = {"min": [1, 32, 32, 3], "opts": [[1, 32, 32, 3], [4, 32, 32, 3]], "max": [4, 32, 32, 3]}
    return optimize(tiny_models.conv_net(), config, outputs=["probabilities"], test_data=[tiny_models.image()])
