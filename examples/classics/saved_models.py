"""Writes a seeded SavedModel with two signatures and variables, as tf.saved_model.save leaves it."""
import numpy as np

SEED = 2019


def two_signatures(folder, small=True, default=False):
    """A shared encoder with the signatures 'classify' (pictures to scores) and 'embed' (pictures to a vector).

    default: also names 'classify' 'serving_default'. Returns {signature: ({input key: array}, [output keys])}.
    """
    import tensorflow as tf

    size, width = (16, 8) if small else (96, 32)
    rng = np.random.default_rng(SEED)

    def variable(*shape):
        return tf.Variable((rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32))

    class Model(tf.Module):
        """Two convolutions and two heads."""

        def __init__(self):
            super().__init__()
            self.first, self.second = variable(3, 3, 3, width), variable(3, 3, width, 2 * width)
            self.head, self.bias = variable(2 * width, 5), variable(5)
            self.projection = variable(2 * width, 12)

        def encode(self, pictures):
            x = tf.nn.relu(tf.nn.conv2d(pictures, self.first, 2, "SAME"))
            return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, self.second, 2, "SAME")), [1, 2])

        @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32, name="pictures")])
        def classify(self, pictures):
            logits = tf.matmul(self.encode(pictures), self.head) + self.bias
            return {"scores": tf.nn.softmax(logits), "label": tf.argmax(logits, 1)}

        @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32, name="pictures"),
                                      tf.TensorSpec([], tf.float32, name="temperature")])
        def embed(self, pictures, temperature):
            vector = tf.matmul(self.encode(pictures), self.projection) / temperature
            return {"embedding": tf.nn.l2_normalize(vector, 1)}

    model = Model()
    signatures = {"classify": model.classify, "embed": model.embed}
    if default:
        signatures["serving_default"] = model.classify
    tf.saved_model.save(model, str(folder), signatures=signatures)
    pictures = rng.uniform(0, 1, (3, size, size, 3)).astype(np.float32)
    return {"classify": ({"pictures": pictures}, ["label", "scores"]),
            "embed": ({"pictures": pictures, "temperature": np.float32(0.7)}, ["embedding"])}
