"""TensorFlow models."""
from blade.errors import UnavailableError


class TfModel:
    """TensorFlow settings that go with Blade's measurements."""

    @staticmethod
    def new_session_config(num_threads=0):
        """The tf.ConfigProto that Blade's own measurements use; `num_threads` 0 is TensorFlow's default."""
        try:
            import tensorflow.compat.v1 as tf
        except ImportError as error:
            raise UnavailableError(
                "TensorFlow is not installed, so there is no tf.ConfigProto to make; install tensorflow or tensorflow-cpu"
            ) from error

        config = tf.ConfigProto(allow_soft_placement=True)
        if num_threads:
            config.intra_op_parallelism_threads = num_threads
        config.gpu_options.allow_growth = True
        return config
