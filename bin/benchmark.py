"""Times steps: python bin/benchmark.py --gin_file=gin/benchmark/ddpmpp_32.gin"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import benchmark

if __name__ == "__main__":
    _cli.main_of(benchmark)()
