"""``python -m lcss_tf <command>``."""

from lcss_tf.commands.main import console

if __name__ == "__main__":
    console()
