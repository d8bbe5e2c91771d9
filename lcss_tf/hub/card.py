"""The card of a model: what a stranger wants to know before use, as the hub reads it."""

import json
from collections.abc import Mapping
from typing import Any

from lcss_tf import files
from lcss_tf._version import __version__
from lcss_tf.texts import markdown, visible

_TAGS = ("score-based-diffusion", "diffusion", "score-matching", "lcss", "tensorflow", "keras")
_NOT_MEASURED = (
    "Not measured. `lcss evaluate` measures samples of a run, and the likelihood of held-out data."
)


def model_card(
    model: Any,
    name: str | None = None,
    license: str | None = None,
    recipe: str | None = None,
    figures: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> str:
    """The card, in Markdown under a head in YAML.

    Args:
      model: a `ScoreModel` that has been fitted or loaded.
      name: of its repository or folder, for the line that loads it.
      license: of the weights, in the hub's spelling, such as ``"apache-2.0"``. None: ``unknown``.
      recipe: a gin configuration.
      figures: what was measured, as ``metrics.json`` has it.
      command: that trained it.
    """
    info, sde = model.info, type(model.sde).__name__
    head = {"library_name": "lcss_tf", "license": license or "unknown", "tags": [*_TAGS, sde]}
    if info.kind == "image" and model.state.condition is None:
        head["pipeline_tag"] = "unconditional-image-generation"
    parts = [
        "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items()) + "---",
        f"# {markdown(info.name)}: a score-based diffusion model",
        "The score ∇log p_t(x) of "
        f"{markdown(info.name, begins=False)}, by [lcss_tf](https://arxiv.org/abs/2412.03962) "
        f"{__version__}.",
        "## Use",
        _code(_use(model, name), "python"),
        "Loading runs no code of this repository. Parts of the author's own, if there are any, "
        "are to be imported before; read them first.",
        "## Model",
        _code(model.summary(), ""),
        "## Data",
        _data(info),
        "## Training",
        _code(command, "bash") if command else f"{model.step:,} steps, from Python.",
        *(["The recipe, with every default:", _code(recipe.strip(), "")] if recipe else []),
        "## Evaluation",
        _figures(figures) if figures else _NOT_MEASURED,
        "## Limits",
        _limits(info, bool(figures)),
    ]
    return "\n\n".join(parts) + "\n"


def _use(model: Any, name: str | None) -> str:
    spec = model.state.condition
    told = {None: "", True: ", label=0", False: ", condition=…"}[spec and spec.is_class]
    return (
        "import lcss_tf as lcss  # pip install 'lcss_tf[hub]'\n\n"
        f"model = lcss.ScoreModel.from_hub({json.dumps(name or 'this folder')})\n"
        f"samples = model.sample(16{told}, sampler=lcss.samplers.{_sampler(model)})"
    )


def _sampler(model: Any) -> str:
    return "DPMSolverPP(num_steps=20)" if model.sde.has_marginal else "EulerMaruyama()"


def _data(info: Any) -> str:
    scaling = info.scaling
    lines = [
        f"- {markdown(info.name, begins=False)}: examples of the kind *{info.kind}*, of shape "
        f"{'×'.join(map(str, info.shape))}, stored as {scaling.stored_dtype}.",
        "- Samples come in the data's units, shape and dtype.",
    ]
    if info.classes:
        shown = ", ".join(markdown(c, begins=False) for c in info.classes[:20])
        lines.append(f"- Classes: {shown}{', …' if len(info.classes) > 20 else ''}.")
    if info.columns:
        shown = ", ".join(markdown(c, begins=False) for c in info.columns[:20])
        lines.append(f"- Columns: {shown}{', …' if len(info.columns) > 20 else ''}.")
    return "\n".join(lines)


def _figures(figures: Mapping[str, Any]) -> str:
    rows = [
        (key, value, figures.get(f"{key}_error"))
        for key, value in figures.items()
        if not key.endswith("_error")
    ]
    return (
        files.markdown_table(["figure", "value", "±"], rows)
        + "\n\nThe suffix is the number of samples: compare only values with the same one."
    )


def _limits(info: Any, measured: bool) -> str:
    lines = [
        "- Samples resemble the training data, with what these lack and what biases them. Nothing "
        "is known of other data.",
        f"- It knows examples of shape {'×'.join(map(str, info.shape))} alone.",
        "- A sample may come close to a training example. The report of `lcss evaluate` shows the "
        "nearest ones.",
    ]
    if not measured:
        lines.insert(0, "- Its quality has not been measured.")
    return "\n".join(lines)


def _code(text: str, language: str) -> str:
    """A block of code, under a fence that the text does not hold."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{visible(text, keep=chr(10))}\n{fence}"


__all__ = ["model_card"]
