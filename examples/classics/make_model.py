"""Writes NAME/NAME.pb and NAME/NAME.npz: one of the seeded models of the kinds that people have, and test cases.

--small gives the variant that tests use. `--list` names them all.
"""
import argparse
import functools
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import detection  # noqa: E402
import front_ends  # noqa: E402
import leftovers  # noqa: E402
import sequences  # noqa: E402
import tabular  # noqa: E402
import vision  # noqa: E402
import volumes  # noqa: E402

from graph_kit import save_cases, weight_count, write_folder  # noqa: E402

# name: function(small) that gives a classic.Classic
MODELS = {
    "decoder_step": sequences.decoder_step,
    "diffusion_step": volumes.diffusion_step,
    "efficientnet_b0": vision.efficientnet,
    "gan_generator": vision.gan_generator,
    "huggingface_encoder": sequences.huggingface_encoder,
    "huggingface_encoder_keras3": functools.partial(sequences.huggingface_encoder, layer_norm="keras3"),
    "inception_v3": vision.inception_v3,
    "jpeg_classifier": front_ends.jpeg_classifier,
    "speech_commands": front_ends.speech_commands,
    "keras_bidirectional": sequences.keras_bidirectional,
    "keras_gru": sequences.keras_gru,
    "keras_lstm": sequences.keras_lstm,
    "keras_masked_lstm": sequences.keras_masked_lstm,
    "keras_preprocessing": leftovers.keras_preprocessing,
    "keras_transformer": sequences.keras_transformer,
    "mobilenet_v2_small": vision.mobilenet_v2,
    "mobilenet_v3": vision.mobilenet_v3,
    "nchw_cnn": vision.nchw_cnn,
    "quantization_aware": vision.quantization_aware,
    "slim_cnn": leftovers.slim_cnn,
    "sound_tagger": front_ends.sound_tagger,
    "sparse_features": tabular.sparse_features,
    "ssd_combined": detection.ssd,
    "ssd_per_class": functools.partial(detection.ssd, suppression="per_class"),
    "string_classifier": tabular.string_classifier,
    "style_transfer": vision.style_transfer,
    "text_cnn": sequences.text_cnn,
    "training_flags": leftovers.training_flags,
    "unet": vision.unet,
    "unet_bilinear": functools.partial(vision.unet, upsampling="bilinear"),
    "volume_unet": volumes.volume_unet,
    "wide_and_deep": tabular.wide_and_deep,
}


def check(classic, name):
    """Stops where an output is not finite or does not depend on its input: such a model would prove nothing."""
    answers = classic.answers(0)
    for output, value in zip(classic.outputs, answers):
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            sys.exit(f"{name}: {output} is not finite.")
    floats = [v for v in answers if np.issubdtype(v.dtype, np.floating) and v.size > 1]
    if floats and all(np.ptp(v) == 0 for v in floats):
        sys.exit(f"{name}: every output is constant.")


def write(folder, name, small):
    classic = MODELS[name](small=small)
    print("%s: %d nodes, %.2f M weights" % (name, len(classic.graph_def.node), weight_count(classic.graph_def) / 1e6),
          file=sys.stderr)
    check(classic, name)
    with open(os.path.join(folder, name + ".pb"), "wb") as f:
        f.write(classic.graph_def.SerializeToString(deterministic=True))
    save_cases(os.path.join(folder, name + ".npz"), classic.twin or classic.graph_def, classic.cases, classic.outputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help="which models (see --list)")
    parser.add_argument("--out", default=".", help="folder in which NAME/ is written (default: here)")
    parser.add_argument("--small", action="store_true", help="the variant that tests use; written to NAME_small/")
    parser.add_argument("--list", action="store_true", help="print the names")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(MODELS))
        return
    here = os.path.dirname(os.path.abspath(__file__))
    sources = sorted(os.path.join(here, f) for f in os.listdir(here) if f.endswith(".py"))
    for name in arguments.name:
        if name not in MODELS:
            parser.error(f"there is no model '{name}': known are {', '.join(MODELS)}.")
        folder = name + ("_small" if arguments.small else "")
        write_folder(os.path.join(arguments.out, folder), sources, {"small": arguments.small},
                     lambda path, name=name: write(path, name, arguments.small))


if __name__ == "__main__":
    main()
