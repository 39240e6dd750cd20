"""Each call of a store."""

import pytest

CALLS = {
    "create": lambda store: store.create("a/b", b"data"),
    "replace": lambda store: store.replace("a/b", b"data"),
    "read": lambda store: store.read("a/b"),
    "read_range": lambda store: store.read_range("a/b", 0, 1),
    "exists": lambda store: store.exists("a/b"),
    "list": lambda store: list(store.list("a/")),
    "folders": lambda store: list(store.folders("")),
    "delete": lambda store: store.delete("a/b"),
    "inspect": lambda store: store.inspect(),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
