"""Complex numbers, Fourier transforms, colours, and sequences read off scores."""

import numpy as np
import tensorflow.compat.v1 as tf

from .draw import Const
from .specs import loose, spec


def complex_values(d, shape):
    return (d.rng.normal(0, 1, shape) + 1j * d.rng.normal(0, 1, shape)).astype(np.complex64)


def length(d):
    """Also with large prime factors, and long enough to be split."""
    return d.pick((1, 2, 3, 5, 8, 12, 16, 17, 30, 49, 64, 67, 100, 122, 134, 251, 256, 600, 1018, 1024, 2304, 4096, d.int(1, 200)))


def rows(d, n):
    return d.shape(0, 2, most=20) + (n,)


def rfft(d):
    n = length(d)
    return dict(input=d.values(rows(d, n + d.pick((0, 0, 3))), -3, 3, t="float32"), fft_length=d.maybe_const(np.array([n], np.int32)))


def irfft(d):
    n = length(d)
    return dict(input=complex_values(d, rows(d, n // 2 + 1 + d.pick((0, 0, 3)))), fft_length=d.maybe_const(np.array([n], np.int32)))


def fft_2d(d, length_of=None):
    h, w = d.int(1, 12), d.int(1, 20)
    columns = w if length_of is None or length_of == "real" else w // 2 + 1
    shape = d.shape(0, 2, most=4) + (h, columns)
    x = d.values(shape, -3, 3, t="float32") if length_of == "real" else complex_values(d, shape)
    return dict(input=x, **({"fft_length": Const(np.array([h, w], np.int32))} if length_of else {}))


FFT = dict(attr=None, rtol=1e-4)
spec("RFFT", rfft, **FFT)
spec("IRFFT", irfft, **FFT)
spec("FFT", lambda d: dict(input=complex_values(d, rows(d, length(d)))), **FFT)
spec("IFFT", lambda d: dict(input=complex_values(d, rows(d, length(d)))), **FFT)
spec("FFT2D", fft_2d, **FFT)
spec("IFFT2D", fft_2d, **FFT)
spec("RFFT2D", lambda d: fft_2d(d, "real"), **FFT)
spec("IRFFT2D", lambda d: fft_2d(d, "real_inverse"), **FFT)
for op in ("Real", "Imag", "Conj", "Angle"):
    spec(op, lambda d: dict(input=complex_values(d, d.shape())), attr=None)
spec("ComplexAbs", lambda d: dict(x=complex_values(d, d.shape())), attr=None)


def complex_parts(d):
    a, b = d.pair()
    return dict(real=d.values(a, t="float32"), imag=d.values(a if d.chance(0.7) else b, t="float32"))


spec("Complex", complex_parts, attr=None)


def quantize(d):
    mode = d.pick(("MIN_COMBINED", "MIN_FIRST", "SCALED"))
    round_mode = d.pick(("HALF_AWAY_FROM_ZERO", "HALF_TO_EVEN")) if mode == "SCALED" else "HALF_AWAY_FROM_ZERO"
    shape = d.shape(1, 4, 0)
    axis = d.int(0, len(shape) - 1) if d.chance(0.4) else -1
    low = d.rng.uniform(-5, 1, () if axis < 0 else shape[axis]).astype(np.float32)
    kinds = ("quint8", "qint8", "quint16", "qint16")
    if mode == "MIN_FIRST" and axis >= 0:
        kinds = kinds[1:]
    return dict(input=d.values(shape, -6, 6, t="float32"), min_range=low, max_range=(low + d.rng.uniform(0.1, 6, low.shape)).astype(np.float32),
                T=tf.as_dtype(d.pick(kinds)), mode=mode, round_mode=round_mode, axis=axis, narrow_range=mode == "SCALED" and d.chance(0.3))


spec("QuantizeV2", quantize, attr=None)


def colours(d):
    return d.values(d.shape(0, 3, most=12) + (3,), 0, 1)


spec("RGBToHSV", lambda d: dict(images=colours(d)), types=("float32", "float64"), rtol=loose(4))
spec("HSVToRGB", lambda d: dict(images=colours(d)), types=("float32", "float64"), rtol=loose(4))


def colour_image(d):
    return d.values(d.shape(2, 3, 0, most=12) + (3,), 0, 1, t="float32")


spec("AdjustHue", lambda d: dict(images=colour_image(d), delta=np.float32(d.rng.uniform(-1, 1))), attr=None, rtol=1e-4)
spec("AdjustSaturation", lambda d: dict(images=colour_image(d), scale=np.float32(d.rng.uniform(0, 3))), attr=None, rtol=1e-4)


def ctc_greedy_decoder(d):
    steps, batch, classes = d.int(1, 12), d.int(1, 5), d.int(2, 6)
    return dict(inputs=d.values((steps, batch, classes), -3, 3), sequence_length=d.rng.integers(0, steps + 1, batch).astype(np.int32),
                merge_repeated=d.chance(0.5))


spec("CTCGreedyDecoder", ctc_greedy_decoder)


def audio_spectrogram(d):
    window, stride = d.pick((2, 3, 16, 100, 400, 512, 640, d.int(2, 300))), d.int(1, 400)
    samples = d.pick((window, window + 1, window + stride, window + 3 * stride + 1, window - 1, max(window - stride, 0), 0))
    return dict(input=d.values((samples, d.int(1, 3)), -1, 1, t="float32"), window_size=window, stride=stride, magnitude_squared=d.chance(0.5))


spec("AudioSpectrogram", audio_spectrogram, attr=None)


def mfcc(d):
    """With what has no root or logarithm in the first bin, which TensorFlow leaves out, and beyond the upper limit."""
    bins, bands = d.pick((9, 129, 257, 513)), d.int(1, 40)
    lower, rate = d.pick((0.0, 20.0, 300.0)), np.int32(d.pick((8000, 16000, 44100, 6000)))
    upper = d.pick((4000.0, 3000.0, lower + 1))
    spectrogram = d.values((d.int(1, 2), d.int(0, 9), bins), 0, 4, t="float32")
    for at in (0, int(upper / (rate / 2 / (bins - 1))) + 1):
        if at < bins and d.chance(0.4):
            spectrogram[..., at] = d.pick((-1, np.nan, np.inf, -np.inf))
    return dict(spectrogram=spectrogram, sample_rate=d.maybe_const(rate), upper_frequency_limit=upper,
                lower_frequency_limit=lower, filterbank_channel_count=bands, dct_coefficient_count=d.int(1, bands))


spec("Mfcc", mfcc, attr=None, rtol=1e-4)
