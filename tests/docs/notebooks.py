"""Executes a notebook's cells in one namespace, as a kernel would, and keeps what they show.

python tests/docs/notebooks.py examples/attribution.ipynb     # writes the outputs into it
"""

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def execute(notebook: dict[str, Any]) -> None:
    """Runs the code cells in order, and puts printed text and shown values into their outputs."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        number += 1
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        value = None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, f"cell {number}", "exec"), namespace)
            if last is not None:
                code = compile(ast.Expression(last.value), f"cell {number}", "eval")
                value = eval(code, namespace)
        cell["execution_count"] = number
        cell["outputs"] = list(_outputs(printed.getvalue(), value, number))


def _outputs(printed: str, value: Any, number: int):
    if printed:
        yield {
            "name": "stdout",
            "output_type": "stream",
            "text": printed.splitlines(keepends=True),
        }
    if value is not None:
        data = {"text/plain": [repr(value)[:2000]]}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": [value._repr_html_()], "text/plain": [type(value).__name__]}
        yield {
            "data": data,
            "execution_count": number,
            "metadata": {},
            "output_type": "execute_result",
        }


def main() -> None:
    path = Path(sys.argv[1])
    notebook = json.loads(path.read_text(encoding="utf-8"))
    execute(notebook)
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
