"""Reviewers' pages, served to tests, and what is kept of the answers."""

import contextlib
import csv
import re
import threading
import urllib.parse
import urllib.request

from seedsweep.web.reviewer_page import Labelling, LabelServer


@contextlib.contextmanager
def served_pages():
    """Gives what serves a reviewer's page until the block ends, and returns its visitor."""
    served = []

    def start(folder, reviewer="ann"):
        server = LabelServer(Labelling(folder, reviewer))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        served.append((server, thread))
        return Visitor(server)

    yield start
    for server, thread in served:
        server.shutdown()
        thread.join()
        server.server_close()


class Visitor:
    """Visits a reviewer's page as a browser does."""

    def __init__(self, server):
        self.server, self.url = server, server.url

    def get(self, path="", host=None):
        request = urllib.request.Request(self.url + path, headers={"Host": host} if host else {})  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.read(), answer.headers

    def page(self, path=""):
        return self.get(path)[0].decode()

    def say(self, label, place=None):
        """Answer what the page asks, and give the page that follows."""
        if place is None:
            place = re.search(r'name="place" value="(\d+)"', self.page())[1]
        form = urllib.parse.urlencode({"place": place, "label": label}).encode()
        with urllib.request.urlopen(self.url + "label", form, timeout=60) as answer:  # noqa: S310
            return answer.read().decode()

    def shown(self, place):
        return self.get(f"picture/{place}/left/0")[0], self.get(f"picture/{place}/right/0")[0]


def rows(folder, reviewer="ann"):
    """A reviewer's answers so far."""
    with (folder / f"labels-{reviewer}.csv").open(newline="") as file:
        return list(csv.DictReader(file))
