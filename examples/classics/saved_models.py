"""Writes seeded SavedModels with variables: one with two signatures, and some with lookup tables."""
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


def lookup_layers(folder):
    """Keras preprocessing inside a model: TextVectorization, StringLookup, IntegerLookup and Hashing, then dense layers.

    Returns feeds {input key: array}.
    """
    import tensorflow as tf

    tf.keras.utils.set_random_seed(SEED)
    layers = tf.keras.layers
    text = tf.keras.Input([], dtype="string", name="text")
    city = tf.keras.Input([1], dtype="string", name="city")
    ids = tf.keras.Input([3], dtype="int64", name="ids")
    words = layers.TextVectorization(max_tokens=40, output_sequence_length=10)
    words.adapt(["the cat sat on the mat", "a dog ate the homework", "hello world"])
    y = layers.Conv1D(32, 3, activation="relu")(layers.Embedding(40, 16)(words(text)))
    places = layers.StringLookup(vocabulary=["rome", "oslo", "lima"], output_mode="one_hot")(city)
    kinds = layers.Flatten()(layers.Embedding(6, 8)(layers.IntegerLookup(vocabulary=[3, 7, 11, 19])(ids)))
    hashed = layers.Flatten()(layers.Embedding(20, 8)(layers.Hashing(20)(city)))
    y = layers.Concatenate()([layers.GlobalMaxPooling1D()(y), places, kinds, hashed])
    scores = layers.Dense(4, activation="softmax", name="scores")(layers.Dense(64, activation="relu")(y))
    tf.keras.Model([text, city, ids], scores).export(str(folder), verbose=False)
    feed = {"text": np.array(["the dog sat", "hello, cat!"], object), "city": np.array([["rome"], ["paris"]], object),
            "ids": np.array([[3, 7, 5], [11, 19, 0]])}
    return [feed, {key: value[:1] for key, value in feed.items()}]


def tables_of_tensorflow_2(folder, vocabulary):
    """Tables from a file (the asset `vocabulary`, written here), changed after it was made, and from numbers to strings."""
    import tensorflow as tf

    with open(vocabulary, "w", encoding="utf-8") as f:
        f.write("alpha\nbeta\ngamma\n")
    rng = np.random.default_rng(SEED)

    class Model(tf.Module):
        """Two dense layers scaled by what a table says of a word."""

        def __init__(self):
            super().__init__()
            lines = tf.lookup.TextFileInitializer(vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                                                  tf.lookup.TextFileIndex.LINE_NUMBER)
            self.words = tf.lookup.StaticHashTable(lines, -1)
            self.scales = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.5)
            self.scales.insert(tf.constant([0, 1, 2], tf.int64), tf.constant([0.1, 0.2, 0.3]))
            names = tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1], tf.int64), tf.constant(["no", "yes"]))
            self.names = tf.lookup.StaticHashTable(names, "?")
            self.weights = tf.Variable((rng.standard_normal((64, 64)) / 8).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word"), tf.TensorSpec([None, 64], tf.float32, name="x")])
        def __call__(self, word, x):
            y = tf.nn.relu(x @ self.weights) @ self.weights * self.scales.lookup(self.words.lookup(word))[:, tf.newaxis]
            return {"y": tf.nn.softmax(y), "label": self.names.lookup(tf.cast(y[:, 0] > 0, tf.int64))}

    tf.saved_model.save(Model(), str(folder))
    feed = {"word": np.array(["beta", "gamma", "delta"], object), "x": rng.standard_normal((3, 64)).astype(np.float32)}
    return [feed, {key: value[:1] for key, value in feed.items()}]


def tables_out_of_the_ordinary(folder):
    """Tables that only a branch or a loop reads, one that is empty, and one with vectors for values."""
    import tensorflow as tf

    rng = np.random.default_rng(SEED)

    class Model(tf.Module):
        """A dense layer over what the tables say of words."""

        def __init__(self):
            super().__init__()

            def numbers():
                return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["alpha", "beta"], [1, 2]), 0)

            self.in_branch, self.in_loop = numbers(), numbers()
            self.empty = tf.lookup.experimental.MutableHashTable(tf.string, tf.int32, 3)
            self.vectors = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, tf.zeros([64]))
            self.vectors.insert(tf.constant(["beta"]), tf.constant(rng.standard_normal((1, 64)).astype(np.float32)))
            self.rows = tf.Variable(rng.standard_normal((4, 64)).astype(np.float32))
            self.weights = tf.Variable((rng.standard_normal((64, 64)) / 8).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word"), tf.TensorSpec([], tf.bool, name="known")])
        def __call__(self, word, known):
            first = tf.cond(known, lambda: self.in_branch.lookup(word), lambda: tf.zeros_like(word, tf.int32))
            second = tf.map_fn(self.in_loop.lookup, word, fn_output_signature=tf.int32)
            x = tf.gather(self.rows, first) + tf.gather(self.rows, second) + tf.gather(self.rows, self.empty.lookup(word))
            return {"y": tf.nn.softmax(tf.nn.relu((x + self.vectors.lookup(word)) @ self.weights) @ self.weights)}

    tf.saved_model.save(Model(), str(folder))
    words = np.array(["beta", "gamma"], object)
    return [{"word": words, "known": np.bool_(True)}, {"word": words, "known": np.bool_(False)}]


def tables_of_tensorflow_1(folder, vocabulary):
    """A text classifier as TensorFlow 1 exported it: a vocabulary file as an asset, tables filled by the main op."""
    import tensorflow.compat.v1 as tf

    with open(vocabulary, "w", encoding="utf-8") as f:
        f.write("the\ncat\ndog\nsat\n")
    with tf.Graph().as_default(), tf.Session() as session:
        text, asset = tf.placeholder(tf.string, [None], name="text"), tf.constant(str(vocabulary))
        tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, asset)
        lines = tf.lookup.TextFileInitializer(asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                                              tf.lookup.TextFileIndex.LINE_NUMBER)
        table = tf.lookup.StaticVocabularyTable(lines, 3)
        words = tf.string_split(text, " ")

        def variable(name, *shape):
            return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=0.3, seed=SEED))

        ids = tf.SparseTensor(words.indices, table.lookup(words.values), words.dense_shape)
        y = tf.nn.safe_embedding_lookup_sparse([variable("embeddings", 7, 32)], ids, combiner="sqrtn")
        scores = tf.nn.softmax(tf.matmul(tf.nn.relu(tf.matmul(y, variable("hidden", 32, 64))), variable("head", 64, 3)))
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        builder = tf.saved_model.Builder(str(folder))
        signature = tf.saved_model.predict_signature_def({"text": text}, {"scores": scores})
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"serving_default": signature}, main_op=tf.tables_initializer(),
            assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS))
        builder.save()
    return [{"text": np.array(["the cat", "a dog sat down"], object)}, {"text": np.array([""], object)}]
