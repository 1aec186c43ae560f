"""Seeded networks with statistics over groups of channels, and with three spatial dims."""
import numpy as np
from classic import Classic, freeze

SEED = 2021


def _seeded():
    import tensorflow as tf

    tf.keras.utils.set_random_seed(SEED)
    return tf, tf.keras.layers


def _frozen(tf, model, cases):
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]
    graph_def, inputs, outputs = freeze(lambda *x: model(list(x), training=False), *specs)
    return Classic(graph_def, [dict(zip(inputs, case)) for case in cases], outputs)


def diffusion_step(small=False):
    """A step of a diffusion model: a U-Net with group normalization, swish, and the time embedded in sines."""
    tf, layers = _seeded()
    size, width = (16, 16) if small else (64, 64)
    noisy, time = tf.keras.Input([size, size, 4], name="noisy"), tf.keras.Input([1], name="time")
    frequencies = np.exp(-np.arange(8) / 2).astype(np.float32)
    angles = layers.Lambda(lambda t: t * frequencies)(time)
    embedded = layers.Lambda(lambda a: tf.concat([tf.sin(a), tf.cos(a)], -1))(angles)
    embedded = layers.Dense(width, activation="swish")(embedded)

    def block(x, filters):
        y = layers.Activation("swish")(layers.GroupNormalization(8)(x))
        y = layers.Conv2D(filters, 3, padding="same")(y)
        y = layers.Add()([y, layers.Reshape([1, 1, filters])(layers.Dense(filters)(embedded))])
        y = layers.Conv2D(filters, 3, padding="same")(layers.Activation("swish")(layers.GroupNormalization(8)(y)))
        return layers.Add()([layers.Conv2D(filters, 1)(x), y])

    x = high = block(layers.Conv2D(width, 3, padding="same")(noisy), width)
    x = block(layers.Conv2D(width, 3, strides=2, padding="same")(x), 2 * width)
    x = block(layers.Concatenate()([layers.UpSampling2D(2)(x), high]), width)
    model = tf.keras.Model([noisy, time], layers.Conv2D(4, 3, padding="same")(layers.GroupNormalization(8)(x)))
    rng = np.random.default_rng(SEED)
    return _frozen(tf, model, [[rng.standard_normal((b, size, size, 4)).astype(np.float32),
                                rng.uniform(0, 9, (b, 1)).astype(np.float32)] for b in (1, 2)])


def volume_unet(small=False):
    """Segmentation of volumes: 3-D convolutions, pooling, transposed convolution, normalization, softmax over 3 classes."""
    tf, layers = _seeded()
    (depth, size), width = ((8, 16), 8) if small else ((32, 64), 16)
    volume = tf.keras.Input([depth, size, size, 1], name="volume")
    high = layers.Conv3D(width, 3, padding="same", activation="relu")(volume)
    x = layers.Conv3D(2 * width, 3, padding="same")(layers.MaxPooling3D()(high))
    x = layers.Add()([x, layers.Conv3D(2 * width, 1, strides=2, padding="same")(high)])
    x = layers.Activation("relu")(layers.LayerNormalization(axis=[1, 2, 3, 4])(x))
    x = layers.Concatenate()([layers.Conv3DTranspose(width, 2, strides=2)(x), high])
    x = layers.Conv3D(width, 3, padding="same", activation="gelu")(x)
    model = tf.keras.Model([volume], layers.Softmax()(layers.Conv3D(3, 1)(x)))
    rng = np.random.default_rng(SEED)
    return _frozen(tf, model, [[rng.standard_normal((b, depth, size, size, 1)).astype(np.float32)] for b in (1, 2)])
