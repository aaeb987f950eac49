"""Mistakes of YAML's grammar in words: PyYAML says what its scanner expected, not what to mend."""

from __future__ import annotations

import yaml

#: Part of PyYAML's problem or context -> what to do, and whether the mistake is where the context began, not where the
#: reader noticed it.
HINTS = (
    ("\\t", "a tab: indent with spaces, not with tabs", False),
    (
        "mapping values are not allowed",
        "a colon too many: quote a value that holds one, write 'key: value' with a space (also above), "
        "and check the indentation",
        False,
    ),
    ("could not find expected ':'", "a line without 'key: value': write a space after the colon", True),
    ("quoted scalar", "a quote that is opened here is not closed", True),
    ("flow", "a bracket that is opened here is not closed, or a comma is missing in it", True),
    ("<block end>", "the indentation differs from the lines above, or a list (- a) is mixed with keys (a: b)", False),
    ("cannot start any token", "a value that starts with a special character: put it in quotes", False),
    ("special characters are not allowed", "a character that is no text: is this the right file?", False),
)


def explain(error: yaml.YAMLError) -> tuple[int, str]:
    """Line (0 = unknown) and sentence for a syntax error."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context, mark = getattr(error, "context", None), getattr(error, "problem_mark", None)
    said = f"{context}, {problem}" if context else str(problem)
    for part, words, from_context in HINTS:
        if part in said:
            said = f"{words} ({problem})" if part != "flow" else words
            mark = getattr(error, "context_mark", None) if from_context else mark
            break
    return mark.line + 1 if mark else 0, f"not YAML: {said}; what follows could not be checked"
