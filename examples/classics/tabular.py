"""Seeded models with strings and tables in front, which stay in TensorFlow, and dense layers behind, which do not."""
import numpy as np
from classic import Classic

from graph_kit import tf

SEED = 1606
WORDS = ["tokyo", "paris", "lima", "oslo", "accra", "quito", "nowhere", ""]


def wide_and_deep(small=False):
    """Wide and deep: a vocabulary table and hashes of strings, crossed columns, embeddings, bucketized numbers, two towers.

    The table is filled by the node 'init_all_tables', as in TensorFlow 1's frozen graphs.
    """
    buckets, width, hidden = (20, 8, (32, 16)) if small else (10000, 64, (1024, 512, 256))
    rng = np.random.default_rng(SEED)

    def weight(*shape):
        return tf.constant((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    with tf.Graph().as_default() as graph:
        city = tf.placeholder(tf.string, [None], name="city")
        device = tf.placeholder(tf.string, [None], name="device")
        category = tf.placeholder(tf.int64, [None], name="category")
        numbers = tf.placeholder(tf.float32, [None, 6], name="numbers")
        vocabulary = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(WORDS[:6]), tf.range(6, dtype=tf.int64)), default_value=6)
        hashed = [vocabulary.lookup(city), tf.strings.to_hash_bucket_fast(device, buckets)]
        tf.tables_initializer(name="init_all_tables")
        crossed = tf.strings.to_hash_bucket_fast(tf.strings.join([city, device], separator="_X_"), buckets)
        category = tf.floormod(category, buckets)
        age = tf.cast(numbers[:, 0] > 0.5, tf.int32) + tf.cast(numbers[:, 0] > 1.5, tf.int32)  # buckets
        columns = [tf.nn.embedding_lookup(tf.constant(rng.normal(0, 0.5, (buckets, width)).astype(np.float32)), i)
                   for i in [*hashed, category]]
        normalized = (numbers - rng.normal(0, 0.2, 6).astype(np.float32)) / np.float32(1.3)
        deep = tf.concat([*columns, tf.one_hot(age, 3), normalized], 1)
        for units in hidden:
            deep = tf.nn.relu(tf.nn.bias_add(tf.matmul(deep, weight(int(deep.shape[1]), units)), weight(units)))
        deep = tf.matmul(deep, weight(hidden[-1], 1))
        wide_table = tf.constant(rng.normal(0, 0.3, (buckets, 1)).astype(np.float32))
        wide = tf.add_n([tf.gather(wide_table, crossed), tf.gather(wide_table, category)])
        logits = tf.add(deep, wide) + np.float32(0.1)
        both = tf.concat([tf.zeros_like(logits), logits], 1)
        tf.sigmoid(logits, name="probability")
        tf.argmax(both, 1, name="class")
    return Classic(graph.as_graph_def(), [_rows(n) for n in (1, 5, 32)], ["probability:0", "class:0"])


def sparse_features(small=False):
    """Lists of ids of different lengths, as a recommender has them: safe_embedding_lookup_sparse, then dense layers."""
    rows, width = (200, 16) if small else (100000, 64)
    rng = np.random.default_rng(SEED)
    with tf.Graph().as_default() as graph:
        indices = tf.placeholder(tf.int64, [None, 2], name="indices")
        ids = tf.placeholder(tf.int64, [None], name="ids")
        shape = tf.placeholder(tf.int64, [2], name="shape")
        table = tf.constant(rng.normal(0, 0.5, (rows, width)).astype(np.float32))
        lists = tf.SparseTensor(indices, ids, shape)
        y = tf.concat([tf.nn.safe_embedding_lookup_sparse([table], lists, combiner=c) for c in ("mean", "sqrtn")], 1)
        for units in (width, 1):
            w = (rng.standard_normal((int(y.shape[1]), units)) / np.sqrt(int(y.shape[1]))).astype(np.float32)
            y = tf.matmul(tf.nn.relu(y) if units == 1 else y, tf.constant(w))
        tf.sigmoid(y, name="probability")
    cases = []
    for count in (1, 4):  # the last row has no id, the one before it several
        at = np.array([[r, c] for r in range(count) for c in range((r + 1) % 3 if count > 1 else 2)], np.int64)
        cases.append({"indices:0": at, "ids:0": rng.integers(0, rows, len(at)), "shape:0": np.array([count + 1, 3])})
    return Classic(graph.as_graph_def(), cases, ["probability:0"])


def _rows(count):
    rng = np.random.default_rng(SEED + count)
    return {"city:0": rng.choice(WORDS, count).astype(object), "device:0": rng.choice(WORDS[:3], count).astype(object),
            "category:0": rng.integers(0, 1000, count), "numbers:0": rng.normal(1, 1, (count, 6)).astype(np.float32)}


def string_classifier(small=False):
    """Labels as strings at the end: a dense network whose argmax is looked up in a constant table of strings."""
    width = 32 if small else 512
    rng = np.random.default_rng(SEED)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 16], name="x")
        y = x
        for units in (width, width, len(WORDS)):
            w = (rng.standard_normal((int(y.shape[1]), units)) / np.sqrt(int(y.shape[1]))).astype(np.float32)
            y = tf.nn.bias_add(tf.matmul(y if y is x else tf.nn.relu(y), tf.constant(w)), tf.constant(rng.normal(0, 0.1, units).astype(np.float32)))
        tf.nn.softmax(y, name="scores")
        tf.gather(tf.constant(WORDS), tf.argmax(y, 1), name="label")
    cases = [{"x:0": rng.standard_normal((n, 16)).astype(np.float32)} for n in (1, 7)]
    return Classic(graph.as_graph_def(), cases, ["scores:0", "label:0"])
