"""Write all that goes into a manuscript to a folder."""

from importlib.resources import files
from pathlib import Path

from fmri2img import __version__
from fmri2img.paper.facts import Facts
from fmri2img.paper.figures import figures
from fmri2img.paper.latex import cited, escaped, from_markdown
from fmri2img.paper.methods import Sections, in_words, methods
from fmri2img.paper.tables import Table, tables
from fmri2img.project.files import replacing_together, write_bytes, write_text

# Without Latin Modern, the encoding T1 has letters in pixels only.
_PREAMBLE = r"""\documentclass[a4paper]{article}
\IfFileExists{lmodern.sty}{\usepackage[T1]{fontenc}\usepackage{lmodern}}{}
\usepackage[utf8]{inputenc}
\usepackage{amssymb,booktabs,graphicx,url}
\usepackage[margin=25mm]{geometry}
\begin{document}
"""


def write_manuscript(facts: Facts, folder: Path) -> list[Path]:
    """Write methods, tables, figures and references, and ``paper.tex`` that shows all of them;
    returns the files.

    Parameters
    ----------
    facts : Facts
    folder : Path
        Files of an earlier call are replaced.
    """
    sections, all_tables = methods(facts), tables(facts)
    drawn = dict(figures(facts))
    texts = {
        "methods.md": _markdown(sections),
        "methods.tex": _latex(sections),
        "results.md": "\n\n".join(["# Results", *facts.findings]) + "\n",
        "results.tex": "\n".join(map(from_markdown, facts.findings)) + "\n",
        "references.bib": bibliography(cited(_markdown(sections))),
        "paper.tex": _paper(facts, all_tables, [name for name in drawn if name.endswith(".pdf")]),
    }
    for table in all_tables:
        texts |= {f"{table.name}.csv": table.csv(), f"{table.name}.tex": table.latex()}
    with replacing_together():
        for name, text in texts.items():
            write_text(folder / name, text)
        for name, content in drawn.items():
            write_bytes(folder / name, content)
    return [folder / name for name in sorted([*texts, *drawn])]


def _markdown(sections: Sections) -> str:
    parts = (f"## {heading}\n\n" + "\n\n".join(texts) for heading, texts in sections.items())
    return "# Methods\n\n" + "\n\n".join(parts) + "\n"


def _latex(sections: Sections) -> str:
    parts = (
        f"\\subsection*{{{escaped(heading)}}}\n" + "\n\n".join(map(from_markdown, texts))
        for heading, texts in sections.items()
    )
    return "\n\n".join(parts) + "\n"


def bibliography(keys: list[str]) -> str:
    """Return the entries of some keys as BibTeX, in the order of the alphabet."""
    whole = files(__package__).joinpath("references.bib").read_text(encoding="utf-8")
    entries = {
        entry.partition("{")[2].partition(",")[0]: entry.strip() for entry in whole.split("\n\n")
    }
    chosen = (entries[key].replace("VERSION", __version__) for key in sorted(keys))
    return "\n\n".join(chosen) + "\n"


def _paper(facts: Facts, all_tables: list[Table], pdfs: list[str]) -> str:
    """Return a document that shows everything, to copy from."""
    wide = [name for name in pdfs if name.endswith("_two_columns.pdf")]
    shows = [
        _references("table", [f"tab:{table.name}" for table in all_tables]),
        _references("figure", [_label(name) for name in wide]),
    ]
    shown = [
        _PREAMBLE.strip(),
        r"\section*{Methods}",
        r"\input{methods}",
        r"\section*{Results}",
        r"\input{results}",
        f"See {' and '.join(shows)}.",
    ]
    for table in all_tables:
        shown += [
            r"\begin{table}[htbp]\centering\footnotesize",
            rf"\caption{{{from_markdown(table.caption)}}}\label{{tab:{table.name}}}",
            rf"\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}"
            rf"{{\input{{{table.name}}}}}",
            r"\end{table}",
        ]
    for name in wide:
        shown += [
            r"\begin{figure}[htbp]\centering",
            rf"\includegraphics[width=\linewidth]{{{name}}}",
            rf"\caption{{{from_markdown(_caption(facts, name))}}}\label{{{_label(name)}}}",
            r"\end{figure}",
        ]
    return "\n".join(
        [*shown, r"\bibliographystyle{unsrt}", r"\bibliography{references}", r"\end{document}", ""]
    )


def _references(kind: str, labels: list[str]) -> str:
    numbers = in_words(rf"\ref{{{label}}}" for label in labels)
    return f"{kind}{'' if len(labels) == 1 else 's'}~{numbers}"


def _label(pdf: str) -> str:
    return f"fig:{pdf.removesuffix('_two_columns.pdf')}"


def _caption(facts: Facts, name: str) -> str:
    simulated = " **Simulated data.**" if facts.is_simulated else ""
    if name.startswith("scores"):
        return (
            "Scores on test images: a dot for each subject, with its 95 % interval over images; in "
            f"grey its floor. Better is further right.{simulated}"
        )
    subject = name.removeprefix("pictures_").partition("_two_columns")[0]
    return (
        f"Pictures that {subject} saw, and their reconstructions: test images drawn at random."
        f"{simulated}"
    )
