"""``python -m blade.freeze MODEL FOLDER SIGNATURE [OP LIBRARY...]``: freezes a SavedModel through TensorFlow, for the blade command;
an empty signature stands for the model's default."""
import sys

from blade import tensorflow_bridge


def main():
    path, folder, signature, *custom_ops = sys.argv[1:]
    try:
        tensorflow_bridge.freeze_saved_model(path, folder, signature, custom_ops)
    except Exception as error:  # the command's user gets the sentence, not a traceback
        print(f"blade: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
