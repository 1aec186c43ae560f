"""Seeded models whose first nodes only TensorFlow can run: JPEG bytes, Fourier transforms of sound, parsed examples."""
import numpy as np
from classic import Classic, freeze

SEED = 2013


def _weights(rng, *shape):
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def jpeg_classifier(small=False):
    """JPEG bytes in, a small convolutional network behind the decoder: only TensorFlow knows that there are 3 channels."""
    import tensorflow as tf

    width = 16 if small else 64
    rng = np.random.default_rng(SEED)
    first, second, head = _weights(rng, 3, 3, 3, width), _weights(rng, 3, 3, width, width), _weights(rng, width, 5)

    def classify(encoded):
        picture = tf.cast(tf.io.decode_jpeg(encoded, channels=3), tf.float32)[tf.newaxis] / 127.5 - 1
        y = tf.nn.relu(tf.nn.conv2d(picture, first, 2, "SAME"))
        y = tf.nn.relu(tf.nn.conv2d(y, second, 2, "SAME"))
        return tf.nn.softmax(tf.reduce_mean(y, [1, 2]) @ head)

    graph_def, inputs, outputs = freeze(classify, tf.TensorSpec([], tf.string, name="encoded"))
    cases = []
    for height, width in ((48, 40), (33, 57)):
        picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        cases.append({inputs[0]: np.array(tf.io.encode_jpeg(picture).numpy(), object)})
    return Classic(graph_def, cases, outputs)


def sound_tagger(small=False):
    """Log-mel spectrograms by tf.signal, then separable convolutions, as YAMNet has them."""
    import tensorflow as tf

    width = 8 if small else 32
    rng = np.random.default_rng(SEED)
    mel = tf.signal.linear_to_mel_weight_matrix(32, 129, 8000, 60.0, 3800.0).numpy()
    first = _weights(rng, 3, 3, 1, width)
    depthwise, pointwise, head = _weights(rng, 3, 3, width, 1) * 3, _weights(rng, 1, 1, width, 2 * width), _weights(rng, 2 * width, 6)

    def tag(wave):
        magnitude = tf.abs(tf.signal.stft(wave, 200, 80, 256))
        log_mel = tf.math.log(tf.tensordot(magnitude, mel, 1) + 1e-3)[..., tf.newaxis]
        y = tf.nn.relu(tf.nn.conv2d(log_mel, first, 2, "SAME"))
        y = tf.nn.relu(tf.nn.conv2d(tf.nn.depthwise_conv2d(y, depthwise, [1, 1, 1, 1], "SAME"), pointwise, 1, "SAME"))
        return tf.sigmoid(tf.reduce_mean(y, [1, 2]) @ head)

    graph_def, inputs, outputs = freeze(tag, tf.TensorSpec([None, 4000], tf.float32, name="wave"))
    return Classic(graph_def, [{inputs[0]: rng.uniform(-1, 1, (b, 4000)).astype(np.float32)} for b in (1, 2)], outputs)


def speech_commands(small=False):
    """A .wav file in, its spectrogram and cepstrum, two convolutions: the speech recognizer of TensorFlow's own tutorial."""
    import tensorflow as tf

    width = 16 if small else 64
    rng = np.random.default_rng(SEED)
    first, second, head = _weights(rng, 20, 8, 1, width), _weights(rng, 10, 4, width, width), _weights(rng, 49 * 20 * width, 12)

    def recognize(encoded):
        audio, rate = tf.audio.decode_wav(encoded, desired_channels=1, desired_samples=16000)
        spectrogram = tf.raw_ops.AudioSpectrogram(input=audio, window_size=480, stride=160, magnitude_squared=True)
        cepstrum = tf.raw_ops.Mfcc(spectrogram=spectrogram, sample_rate=rate, dct_coefficient_count=40)
        y = tf.nn.relu(tf.nn.conv2d(cepstrum[..., tf.newaxis], first, 1, "SAME"))
        y = tf.nn.relu(tf.nn.conv2d(tf.nn.max_pool2d(y, 2, 2, "SAME"), second, 1, "SAME"))
        return tf.nn.softmax(tf.reshape(y, [-1, 49 * 20 * width]) @ head)

    graph_def, inputs, outputs = freeze(recognize, tf.TensorSpec([], tf.string, name="encoded"))
    time = np.arange(16000) / 16000
    cases = []
    for pitch in (200, 500):
        sound = 0.3 * np.sin(2 * np.pi * pitch * time * (1 + time)) + rng.normal(0, 0.01, 16000)
        encoded = tf.audio.encode_wav(sound[:, np.newaxis].astype(np.float32), 16000).numpy()
        cases.append({inputs[0]: np.array(encoded, object)})
    return Classic(graph_def, cases, outputs)
