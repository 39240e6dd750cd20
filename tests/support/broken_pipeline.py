"""A pipeline that fails all that it is asked for."""


class BrokenPipeline:
    def __init__(self, error):
        self.error, self.calls = error, 0

    def generate(self, prompt, seeds):
        self.calls += 1
        raise self.error
