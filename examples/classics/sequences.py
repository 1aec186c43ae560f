"""Seeded recurrent networks, text classifiers and transformers as Keras, TF-Hub and HuggingFace leave them frozen."""
import numpy as np
from classic import Classic, freeze

from graph_kit import tf

SEED = 1997


def _token_cases(vocabulary, shapes, name, seed=SEED):
    rng = np.random.default_rng(seed)
    return [{name: rng.integers(1, vocabulary, shape, dtype=np.int32)} for shape in shapes]


def _trained(model, seed=SEED):
    """Spreads what Keras draws close to zero: embeddings of unit size, and logits that tell the inputs apart."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        name, weights = type(layer).__name__, layer.get_weights()
        if name == "Embedding":
            layer.set_weights([rng.standard_normal(w.shape).astype(np.float32) for w in weights])
        elif name == "Dense" and layer is model.layers[-1]:
            layer.set_weights([(3 * w if w.ndim == 2 else rng.normal(0, 0.2, w.shape)).astype(np.float32) for w in weights])
    return model


def _keras_classifier(layers, small, length=None):
    """A Keras text classifier (embedding, then `layers`, softmax) frozen as a TF2 user does; any batch and length."""
    import tensorflow as tf2

    vocabulary, width = (50, 12) if small else (20000, 128)
    tf2.keras.utils.set_random_seed(SEED)
    model = tf2.keras.Sequential([
        tf2.keras.Input([length], dtype="int32", name="tokens"), tf2.keras.layers.Embedding(vocabulary, width),
        *layers(tf2.keras.layers, 16 if small else 128), tf2.keras.layers.Dense(4, activation="softmax")])
    _trained(model)
    graph_def, inputs, outputs = freeze(
        lambda tokens: model(tokens, training=False), tf2.TensorSpec([None, length], tf2.int32, name="tokens"))
    shapes = [(1, 9), (3, 5), (2, 14)] if length is None else [(1, length), (3, length)]
    return Classic(graph_def, _token_cases(vocabulary, shapes, inputs[0]), outputs)


def keras_lstm(small=False):
    """Two stacked LSTM layers."""
    return _keras_classifier(lambda k, n: [k.LSTM(n, return_sequences=True), k.LSTM(n)], small)


def keras_gru(small=False):
    """A GRU, then a GRU over its sequence."""
    return _keras_classifier(lambda k, n: [k.GRU(n, return_sequences=True), k.GRU(n)], small)


def keras_bidirectional(small=False):
    """A bidirectional LSTM over the sequence, its maximum over time."""
    return _keras_classifier(
        lambda k, n: [k.Bidirectional(k.LSTM(n, return_sequences=True)), k.GlobalMaxPooling1D()], small)


def keras_masked_lstm(small=False):
    """An LSTM behind an embedding with mask_zero: padding steps keep the state."""
    import tensorflow as tf2

    vocabulary = 50 if small else 20000
    tf2.keras.utils.set_random_seed(SEED)
    layers = tf2.keras.layers
    model = tf2.keras.Sequential([
        tf2.keras.Input([None], dtype="int32"), layers.Embedding(vocabulary, 12 if small else 128, mask_zero=True),
        layers.LSTM(16 if small else 128), layers.Dense(4, activation="softmax")])
    _trained(model)
    graph_def, inputs, outputs = freeze(
        lambda tokens: model(tokens, training=False), tf2.TensorSpec([None, None], tf2.int32, name="tokens"))
    cases = _token_cases(vocabulary, [(2, 9), (3, 5)], inputs[0])
    for case in cases:
        case[inputs[0]][1, 3:] = 0
    return Classic(graph_def, cases, outputs)


def text_cnn(small=False):
    """Kim's CNN: embedding Gather, Conv1D of three widths (ExpandDims, Conv2D, Squeeze), maximum over time, Concat."""
    import tensorflow as tf2

    vocabulary, width, filters = (60, 12, 8) if small else (20000, 128, 128)
    tf2.keras.utils.set_random_seed(SEED)
    layers = tf2.keras.layers
    tokens = tf2.keras.Input([None], dtype="int32")
    x = layers.Embedding(vocabulary, width)(tokens)
    pooled = [layers.GlobalMaxPooling1D()(layers.Conv1D(filters, k, activation="relu")(x)) for k in (3, 4, 5)]
    logits = layers.Dense(6, activation="softmax")(layers.Concatenate()(pooled))
    model = _trained(tf2.keras.Model(tokens, logits))
    graph_def, inputs, outputs = freeze(
        lambda tokens: model(tokens, training=False), tf2.TensorSpec([None, None], tf2.int32, name="tokens"))
    return Classic(graph_def, _token_cases(vocabulary, [(1, 24), (4, 17)], inputs[0]), outputs)


class _Weights:
    """Draws seeded weights into the default graph."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def matrix(self, inputs, outputs):
        return tf.constant((self.rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32))

    def vector(self, size, deviation=0.05, mean=0.0):
        return tf.constant((mean + deviation * self.rng.standard_normal(size)).astype(np.float32))


def _layer_norm_keras2(x, gamma, beta, epsilon=1e-6):
    """LayerNormalization as Keras 2 wrote it: a training-mode FusedBatchNormV3 on [1, rows, hidden, 1], NCHW."""
    shape = tf.shape(x)
    hidden = int(x.shape[-1])
    rows = shape[0] * shape[1]
    y = tf.reshape(x, tf.stack([1, rows, hidden, 1]))
    y, _, _ = tf.nn.fused_batch_norm(y, tf.fill([rows], 1.0), tf.fill([rows], 0.0), epsilon=epsilon, data_format="NCHW",
                                     is_training=True)
    return tf.reshape(y, shape) * gamma + beta


def _layer_norm_keras3(x, gamma, beta, epsilon=1e-6):
    """LayerNormalization as Keras 3 writes it: moments, then batch normalization's pieces."""
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def huggingface_encoder(small=False, layer_norm="keras2"):
    """A BERT encoder as HuggingFace's TF classes export it: Tensordot dense layers, attention in [b, heads, t, d], int32 mask.

    layer_norm: 'keras2' (training-mode FusedBatchNormV3) or 'keras3' (moments).
    """
    hidden, heads, layers, vocabulary = (32, 4, 2, 100) if small else (768, 12, 12, 30522)
    norm = _layer_norm_keras2 if layer_norm == "keras2" else _layer_norm_keras3
    weights = _Weights(SEED)

    def dense(x, units):
        y = tf.tensordot(x, weights.matrix(int(x.shape[-1]), units), [[2], [0]])  # Shape, Prod, Reshape, MatMul, Reshape
        y.set_shape([None, None, units])
        return tf.nn.bias_add(y, weights.vector(units))

    def normalized(x):
        return norm(x, weights.vector(hidden, 0.1, 1.0), weights.vector(hidden))

    def gelu(x):
        return 0.5 * x * (1.0 + tf.erf(x / tf.cast(1.4142135623730951, x.dtype)))

    def split(x):
        return tf.transpose(tf.reshape(x, [tf.shape(x)[0], -1, heads, hidden // heads]), [0, 2, 1, 3])

    def attention(x, bias):
        q, k, v = split(dense(x, hidden)), split(dense(x, hidden)), split(dense(x, hidden))
        scores = tf.divide(tf.matmul(q, k, transpose_b=True), tf.cast(np.sqrt(hidden // heads), tf.float32))
        probabilities = tf.nn.softmax(tf.add(scores, bias) + 1e-9, axis=-1)
        context = tf.transpose(tf.matmul(probabilities, v), [0, 2, 1, 3])
        context = tf.reshape(context, [tf.shape(x)[0], -1, hidden])
        context.set_shape([None, None, hidden])
        return normalized(dense(context, hidden) + x)

    with tf.Graph().as_default() as graph:
        ids = tf.placeholder(tf.int32, [None, None], name="input_ids")
        mask = tf.placeholder(tf.int32, [None, None], name="attention_mask")
        table = tf.constant(weights.rng.normal(0, 0.5, (vocabulary, hidden)).astype(np.float32))
        positions = tf.constant(weights.rng.normal(0, 0.3, (512, hidden)).astype(np.float32))
        x = tf.gather(table, ids) + tf.gather(positions, tf.expand_dims(tf.range(0, tf.shape(ids)[1]), 0))
        x = normalized(x)
        bias = tf.reshape(mask, [tf.shape(ids)[0], 1, 1, tf.shape(ids)[1]])
        bias = tf.multiply(tf.subtract(1.0, tf.cast(bias, tf.float32)), -10000.0)
        for _ in range(layers):
            x = attention(x, bias)
            x = normalized(dense(gelu(dense(x, 4 * hidden)), hidden) + x)
        tf.identity(x, name="last_hidden_state")
        tf.tanh(tf.nn.bias_add(tf.matmul(x[:, 0], weights.matrix(hidden, hidden)), weights.vector(hidden)), name="pooler_output")
    return Classic(graph.as_graph_def(), _masked_cases(vocabulary, small, "input_ids:0", "attention_mask:0"),
                   ["last_hidden_state:0", "pooler_output:0"])


def _masked_cases(vocabulary, small, ids_name, mask_name):
    rng = np.random.default_rng(SEED)
    cases = []
    for batch, length in [(1, 12), (3, 7), (2, 20)] if small else [(1, 128), (2, 64)]:
        ids = rng.integers(1, vocabulary, (batch, length), dtype=np.int32)
        mask = (np.arange(length)[None] < rng.integers(length // 2, length + 1, (batch, 1))).astype(np.int32)
        cases.append({ids_name: ids * mask, mask_name: mask})
    return cases


def keras_transformer(small=False):
    """An encoder of Keras' own MultiHeadAttention (Einsum) and LayerNormalization, tanh gelu, with an attention mask."""
    import tensorflow as tf2

    vocabulary, hidden, heads, layers_count = (100, 32, 4, 2) if small else (30522, 512, 8, 6)
    tf2.keras.utils.set_random_seed(SEED)
    layers = tf2.keras.layers
    ids, mask = tf2.keras.Input([None], dtype="int32"), tf2.keras.Input([None], dtype="int32")
    x = layers.Embedding(vocabulary, hidden)(ids)
    allowed = layers.Reshape([1, -1])(mask)
    for _ in range(layers_count):
        attended = layers.MultiHeadAttention(heads, hidden // heads)(x, x, attention_mask=allowed)
        x = layers.LayerNormalization(epsilon=1e-6)(x + attended)
        y = layers.Dense(4 * hidden, activation=lambda t: tf2.keras.activations.gelu(t, approximate=True))(x)
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dense(hidden)(y))
    model = _trained(tf2.keras.Model([ids, mask], x))
    spec = [tf2.TensorSpec([None, None], tf2.int32, name=n) for n in ("ids", "mask")]
    graph_def, inputs, outputs = freeze(lambda i, m: model([i, m], training=False), *spec)
    return Classic(graph_def, _masked_cases(vocabulary, small, inputs[0], inputs[1]), outputs)


def decoder_step(small=False):
    """One step of a transformer decoder: key and value caches in, grown by one out, and the logits of the next token."""
    hidden, heads, layers, vocabulary = (32, 4, 2, 60) if small else (512, 8, 6, 32000)
    size = hidden // heads
    weights = _Weights(SEED + 1)

    def dense(x, units):
        return tf.nn.bias_add(tf.matmul(x, weights.matrix(int(x.shape[-1]), units)), weights.vector(units))

    def normalized(x):  # pre-norm, from its moments
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), -1, keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-5) * weights.vector(hidden, 0.1, 1.0) + weights.vector(hidden)

    with tf.Graph().as_default() as graph:
        token = tf.placeholder(tf.int32, [None], name="token")
        table = tf.constant(weights.rng.normal(0, 0.5, (vocabulary, hidden)).astype(np.float32))
        positions = tf.constant(weights.rng.normal(0, 0.3, (1024, hidden)).astype(np.float32))
        x = tf.gather(table, token)
        outputs = []
        for layer in range(layers):
            caches = [tf.placeholder(tf.float32, [None, heads, None, size], name=f"{kind}_{layer}") for kind in ("keys", "values")]
            if layer == 0:
                x += tf.gather(positions, tf.shape(caches[0])[2])
            y = normalized(x)
            query, key, value = (tf.reshape(dense(y, hidden), [-1, heads, 1, size]) for _ in range(3))
            keys, values = tf.concat([caches[0], key], 2), tf.concat([caches[1], value], 2)
            outputs += [tf.identity(keys, name=f"new_keys_{layer}"), tf.identity(values, name=f"new_values_{layer}")]
            scores = tf.matmul(query, keys, transpose_b=True) / np.float32(np.sqrt(size))
            context = tf.reshape(tf.matmul(tf.nn.softmax(scores), values), [-1, hidden])
            x += dense(context, hidden)
            y = dense(normalized(x), 4 * hidden)
            y = y * 0.5 * (1.0 + tf.tanh(np.float32(0.7978845608) * (y + 0.044715 * tf.pow(y, 3.0))))
            x += dense(y, hidden)
        logits = tf.matmul(normalized(x), table, transpose_b=True, name="logits")
        tf.argmax(logits, -1, name="next_token", output_type=tf.int32)
        outputs = [logits, graph.get_tensor_by_name("next_token:0"), *outputs]
    rng = np.random.default_rng(SEED)
    cases = []
    for batch, past in ((1, 5), (2, 11), (1, 0)):
        case = {"token:0": rng.integers(0, vocabulary, batch, dtype=np.int32)}
        for layer in range(layers):
            for kind in ("keys", "values"):
                case[f"{kind}_{layer}:0"] = rng.standard_normal((batch, heads, past, size)).astype(np.float32)
        cases.append(case)
    return Classic(graph.as_graph_def(), cases, [t.name for t in outputs])
