"""``python -m blade.freeze MODEL FOLDER [SIGNATURE]``: freezes a SavedModel through TensorFlow, for the blade command."""
import sys

from blade import tensorflow_bridge


def main():
    path, folder, *signature = sys.argv[1:]
    try:
        tensorflow_bridge.freeze_saved_model(path, folder, *signature)
    except Exception as error:  # the command's user gets the sentence, not a traceback
        print(f"blade: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
