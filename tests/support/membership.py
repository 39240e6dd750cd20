"""A stand-in for membership inference, a kind of work over several models."""

import json

from seedsweep.storage.keys import unit_shard


class Membership:
    """What models tell of a picture, here named by the prompt. A unit's `kind_id` names its models,
    joined by a dash; its shard holds what each of them told.

    `asked` has the index of each unit for each model that was asked, `made` that of each unit that
    was encoded.
    """

    def __init__(self, models):
        self.models, self.asked, self.made = models, [], []

    def key(self, unit):
        return unit_shard(unit)

    def images(self, unit):
        return 0

    def wants(self, campaign, unit):
        models = (self.models[name] for name in unit.kind_id.split("-"))
        return tuple(campaign.model_copy(update={"model": model}) for model in models)

    def ask(self, pipeline, wanted, unit, place):
        self.asked.append((unit.index, wanted.model.path))
        (picture,) = pipeline.generate(unit.prompt, [unit.seeds.first])
        return {"model": wanted.model.path, "loss": float(picture.pixels.mean())}

    def encode(self, told, campaign, unit, place):
        self.made.append(unit.index)
        return json.dumps(told).encode()

    def told(self, store, unit):
        """What the unit's shard says: the models that told it, in their order."""
        return [each["model"] for each in json.loads(store.read(self.key(unit)))]
