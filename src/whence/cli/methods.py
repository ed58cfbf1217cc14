"""`whence methods`: the methods, what they need, and what their scores mean."""

from whence.cli.console import Json, answer, table


def methods(name: str | None = None, *, markdown: bool = False, json: Json = False) -> None:
    """List the methods that a study may name.

    Parameters
    ----------
    name
        Everything that one method states of itself, its source and when not to use it.
    markdown
        Print the table of docs/methods.md.
    """
    from whence.methods import METHODS, find_method
    from whence.methods.listing import markdown_table, method_record

    listed = METHODS.values() if name is None else [find_method(name)]
    records = [method_record(method) for method in listed]
    if markdown:
        text = markdown_table()
    elif name is not None:
        text = "\n".join(f"{key}: {value}" for record in records for key, value in record.items())
    else:
        columns = ("name", "family", "reads", "higher_means", "cost")
        rows = [tuple(str(record[column]) for column in columns) for record in records]
        text = table(rows, ("name", "family", "needs", "higher means", "cost"))
    answer({"methods": records}, text, json_line=json)
