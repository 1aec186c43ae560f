"""blade.Config: typed, printable, strict about names."""
import copy
import pathlib
import pickle

import numpy as np
import pytest

import blade
from blade.config import markdown_table


def test_defaults_are_the_contract():
    config = blade.Config()
    assert config.gpu_config.precision == "auto"
    assert config.gpu_config.disable_fp16_accuracy_check is False
    assert config.gpu_config.aicompiler.enable is True
    assert config.gpu_config.tensorrt.enable is True
    assert config.gpu_config.tensorrt.dynamic_tuning_shapes == {}
    assert config.cpu_config.precision == "auto"
    assert config.cpu_config.num_threads == 0


def test_misspelt_field_names_the_nearest():
    config = blade.Config()
    with pytest.raises(AttributeError, match="did you mean 'disable_fp16_accuracy_check'"):
        config.gpu_config.disable_fp16_acuracy_check = True
    with pytest.raises(AttributeError, match="did you mean 'cpu_config'"):
        print(config.cpu_confg)


def test_wrong_type_is_refused():
    with pytest.raises(TypeError, match="num_threads takes int, got 'two'"):
        blade.Config().cpu_config.num_threads = "two"


def test_dict_round_trip():
    config = blade.Config()
    config.accuracy.rtol = 1e-4
    config.dynamic_tuning_shapes = {"min": [1, 2], "opts": [[1, 2]], "max": [4, 2]}
    assert blade.Config.from_dict(config.to_dict()) == config
    assert config != blade.Config()
    assert "rtol=0.0001" in repr(config)


def test_configs_do_not_share_defaults():
    first, second = blade.Config(), blade.Config()
    first.dynamic_tuning_shapes["min"] = [1]
    assert second.dynamic_tuning_shapes == {}


def test_help_lists_every_field():
    for path, value in flat(blade.Config().to_dict()):
        assert f"  {path} = {value!r}: " in blade.Config.__doc__


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_the_page_lists_every_field():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "python.md").read_text()
    assert markdown_table() in page, "print(blade.config.markdown_table()) gives the table"


def test_numpy_numbers_are_taken():
    config = blade.Config()
    config.cpu_config.num_threads = np.int64(1)
    config.accuracy.rtol = np.float32(0.5)
    config.tuning.disable_perf_check = np.bool_(True)
    assert config.to_dict()["cpu_config"]["num_threads"] == 1 and type(config.cpu_config.num_threads) is int
    assert type(config.accuracy.rtol) is float and config.tuning.disable_perf_check is True


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan")])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="TuningConfig.time_limit_s is .*; expected a finite number"):
        blade.Config().tuning.time_limit_s = value


def test_copies_and_pickles():
    config = blade.Config()
    config.accuracy.rtol = 0.25
    for copied in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert copied == config
