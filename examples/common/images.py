"""Seeded pictures that look natural to a network: smooth 1/f fields with soft-edged shapes, not white noise."""
import numpy as np


def _smooth_field(rng, size, falloff):
    """A random field whose amplitude spectrum falls as 1 / frequency**falloff, scaled to mean 0 and deviation 1."""
    fy = np.fft.fftfreq(size)[:, None]
    fx = np.fft.rfftfreq(size)[None, :]
    radius = np.sqrt(fy * fy + fx * fx)
    radius[0, 0] = 1.0
    phase = rng.uniform(0, 2 * np.pi, radius.shape)
    spectrum = np.exp(1j * phase) / radius**falloff
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (size, size))
    return (field - field.mean()) / field.std()


def _ellipse(rng, size):
    """Coverage in [0, 1] of one ellipse with a soft edge, somewhere in the picture."""
    y, x = np.mgrid[0:size, 0:size] / size
    cy, cx = rng.uniform(0.15, 0.85, 2)
    ry, rx = rng.uniform(0.08, 0.4, 2)
    angle = rng.uniform(0, np.pi)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
    distance = np.sqrt((u / rx) ** 2 + (v / ry) ** 2)
    return 1 / (1 + np.exp(np.clip((distance - 1) * rng.uniform(15, 60), -30, 30)))


def picture(seed, size=224):
    """One RGB picture, float32 [size, size, 3], in 0..255; equal seeds give equal pictures."""
    rng = np.random.default_rng(seed)
    brightness = _smooth_field(rng, size, rng.uniform(1.0, 1.6))
    image = rng.uniform(60, 190, 3) + rng.uniform(15, 45) * brightness[:, :, None] * rng.uniform(0.6, 1.2, 3)
    for _ in range(rng.integers(2, 7)):
        cover = _ellipse(rng, size)[:, :, None]
        texture = _smooth_field(rng, size, rng.uniform(0.8, 2.0))[:, :, None]
        image = image * (1 - cover) + cover * (rng.uniform(20, 235, 3) + rng.uniform(2, 35) * texture)
    return np.clip(image, 0, 255).astype(np.float32)


def pictures(first_seed, count, size=224):
    """`count` pictures of consecutive seeds, float32 [count, size, size, 3]."""
    return np.stack([picture(first_seed + i, size) for i in range(count)])
