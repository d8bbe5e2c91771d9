"""How long reading will take: told where a person would wait."""

from tqdm import tqdm

_PATIENCE_SECONDS = 3  # of reading before anything is shown


def reading_bar(count, name, unit):
    """A bar of tqdm over `count` things called `unit`; reading that is quick shows none."""
    return tqdm(None, f"reading {name}", count, unit=f" {unit}", delay=_PATIENCE_SECONDS)
