"""Pages of the documentation's site that are made rather than written: a hook of mkdocs.

* ``index.md`` is the README.
* ``reference/gin.md`` lists every key that a gin file can bind, with its default.
* ``reference/api/*.md`` are the modules, from their docstrings.
* ``notebooks/*.md`` are the scripts of ``examples/notebooks``.
* ``source/*.md`` are the files that a page links to and that lie outside ``docs/``.

mkdocs.yml names this file; ``make docs`` builds the site.
"""

import ast
import importlib
import inspect
import os
import posixpath
import re
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gin
import jupytext
from mkdocs.structure.files import File, Files

from lcss_tf import registry
from lcss_tf.commands import _gin

ROOT = Path(__file__).resolve().parent.parent
# The modules that users import from, in the order of a run.
MODULES = (
    "model", "sdes", "score", "networks", "losses", "samplers", "control", "data", "training",
    "averages", "callbacks", "metrics", "plots", "inference", "exact", "export", "hub",
    "importers", "registry", "random", "xla", "typing", "errors",
)  # fmt: skip
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
_LANGUAGES = {".py": "python", ".gin": "python", ".sh": "bash", ".yaml": "yaml", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made."""
    pages = {"index.md": _readme(), "reference/gin.md": gin_page()}
    pages |= {f"reference/api/{name}.md": _module_page(name) for name in MODULES}
    pages |= {
        f"notebooks/{path.stem}.md": _notebook(path)
        for path in sorted((ROOT / "examples" / "notebooks").glob("*.py"))
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted(_outside(files) | {"CONTRIBUTING.md"}):
        files.append(File.generated(config, f"source/{path}.md", content=_source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links that leave ``docs/`` to the pages under ``source/``, or of notebooks."""
    place = posixpath.dirname(page.file.src_uri)

    def turned(match: re.Match) -> str:
        target = _leaving(place, match[2])
        if target is None:
            return match[0]
        notebook = re.fullmatch(r"examples/notebooks/(\w+)\.py", target)
        if notebook and place != "notebooks":
            made = f"notebooks/{notebook[1]}.md"
            return f"{match[1]}({posixpath.relpath(made, place or '.')})"
        return f"{match[1]}({posixpath.relpath(f'source/{target}.md', place or '.')})"

    return _LINK.sub(turned, markdown)


def gin_page() -> str:
    """Every gin key with its default, by kind of part."""
    lines = [
        "# Every gin key",
        "",
        "The keys are the Python names. A part is named by `@`, as in `ScoreModel.sde = "
        "@sdes.VPSDE()`, and its arguments by its class, as in `VPSDE.beta_min = 0.1`. What a key "
        "means is said in the [API reference](api/model.md). A key without a default must be "
        "bound where its part is used.",
        "",
    ]
    sections = {f"@{r.module}: {r.kind}": dict(r) for r in registry.ALL_REGISTRIES}
    _gin.load(None)  # imports the commands, which bring keys of their own
    own = {name: gin.config._REGISTRY.get_match(name).wrapped for name in _gin._OWN}
    theirs = {name: part for name, part in own.items() if part.__module__.startswith("keras.")}
    main = {name: own[name] for name in _FIRST}
    rest = {name: own[name] for name in sorted(own.keys() - theirs.keys() - main.keys())}
    groups = {"The run": main | rest, **sections, "Keras' optimisers, schedules, callbacks": theirs}
    for title, parts in groups.items():
        lines += [f"## {title}", ""]
        for name in parts if parts is groups["The run"] else sorted(parts, key=str.casefold):
            lines += _part(name, parts[name])
    return "\n".join(lines)


def _part(name: str, part: Any) -> list[str]:
    summary = (inspect.getdoc(part) or "").split("\n\n")[0].replace("\n", " ")
    denied = gin.config._REGISTRY.get_match(name).denylist or ()
    lines = [f"### `{name}`", "", _escaped(summary), ""]
    rows = [
        f"| `{name}.{key}` | {'' if default is _REQUIRED else f'`{default!r}`'} |"
        for key, default in _arguments(part).items()
        if key not in denied
    ]
    if rows:
        lines += ["| key | default |", "|---|---|", *rows, ""]
    return lines


_REQUIRED = object()
_FIRST = ("ScoreModel", "fit", "sample", "posterior")  # what most files bind


def _arguments(part: Any) -> dict[str, Any]:
    """The arguments of a class or function with their defaults, those of its bases with them."""
    found: dict[str, Any] = {}
    classes = part.__mro__ if inspect.isclass(part) else (part,)
    for target in classes:
        call = target.__dict__.get("__init__") if inspect.isclass(target) else target
        if call is None:
            continue
        parameters = list(inspect.signature(call).parameters.values())
        for p in parameters[1:] if inspect.isclass(target) else parameters:
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or p.name in found:
                continue
            required = p.default is p.empty or p.default is gin.REQUIRED
            found[p.name] = _REQUIRED if required else _shown(p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


class _Shown(str):
    def __repr__(self) -> str:
        return str(self)


def _shown(value: Any) -> Any:
    """A default as it is shown: of classes and functions the name."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return _Shown(value.__name__)
    if type(value).__repr__ is object.__repr__:
        return _Shown(f"{type(value).__name__}()")
    return value


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _module_page(name: str) -> str:
    module = importlib.import_module(f"lcss_tf.{name}")
    title = (inspect.getdoc(module) or name).split("\n\n")[0].replace("\n", " ").rstrip(".")
    members = [] if name == "registry" else list(getattr(module, "__all__", ()))
    lines = [f"# `lcss_tf.{name}`", "", f"{title}.", ""]
    if name == "registry":
        for r in registry.ALL_REGISTRIES:
            parts = ", ".join(f"`{part}`" for part in r)
            lines += [f"- `@{r.module}`: {parts}"]
        lines += ["", "::: lcss_tf.registry.Registry", ""]
    for member in members:
        if not isinstance(getattr(module, member, None), (int, float, str, tuple, dict)):
            lines += [f"::: lcss_tf.{name}.{member}", ""]
    return "\n".join(lines)


def _notebook(path: Path) -> str:
    """A notebook's cells as Markdown; its outputs are the pictures that its text shows."""
    text = jupytext.writes(jupytext.read(path), fmt="md")
    text = re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.S)
    text = text.replace("](../../docs/", "](../")
    return f"{text}\n*This page is [{path.name}](../../examples/notebooks/{path.name}).*\n"


def _readme() -> str:
    text = (ROOT / "README.md").read_text()
    return _LINK.sub(lambda m: f"{m[1]}({_from_docs(m[2])})", text)


def _from_docs(target: str) -> str:
    """A link of the README, as a page in ``docs/`` would write it."""
    if re.match(r"[a-z]+:|#", target):
        return target
    return target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"


def _leaving(place: str, target: str) -> str | None:
    """The path from the root of a link that leaves ``docs/``, if it does."""
    if re.match(r"[a-z]+:|#", target):
        return None
    path = posixpath.normpath(posixpath.join("docs", place, target.split("#")[0]))
    if path.startswith("docs/") or path == "docs" or not (ROOT / path).is_file():
        return None
    return path


def _outside(files: Files) -> set[str]:
    found = set()
    for file in files.documentation_pages():
        place = posixpath.dirname(file.src_uri)
        for _, target in _LINK.findall(file.content_string):
            path = _leaving(place, target)
            if path:
                found.add(path)
    return found


def _source_page(path: str) -> str:
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return _LINK.sub(lambda m: m[1], text)
    fence = "````"
    doc = ""
    if path.endswith(".py"):
        doc = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    language = _LANGUAGES.get(Path(path).suffix, "text")
    return f"# `{path}`\n\n{_escaped(doc)}\n\n{fence}{language}\n{text}{fence}\n"
