"""blade.Config: typed, printable, strict about names."""
import blade
import pytest


def test_defaults_are_the_contract():
    config = blade.Config()
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
